import cleanfid.features
import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from published_files import (
    assert_splits_agree,
    random_images,
    write_pytorch_fid,
    write_torchscript,
)

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import inception
from dbim_lightning.evaluation.inception import MODES, Inception, InceptionScore

WRITERS = dict.fromkeys(MODES, write_torchscript) | {"legacy_pytorch": write_pytorch_fid}


def cleanfid_features(folder, mode: str, batch_size: int) -> torch.Tensor:
    model = cleanfid.features.build_feature_extractor(
        mode, device=torch.device("cpu"), use_dataparallel=False
    )
    features = get_folder_features(
        str(folder), model, num_workers=0, batch_size=batch_size, device="cpu", mode=mode,
        verbose=False,
    )  # fmt: skip
    return torch.from_numpy(features)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of clean-fid
@pytest.mark.parametrize("size", [48, 320])
@pytest.mark.parametrize("mode", MODES)
def test_features_are_those_of_cleanfid(mode, size, checkpoints, tmp_path, monkeypatch):
    WRITERS[mode](checkpoints)
    monkeypatch.setattr(
        cleanfid.features,
        "InceptionV3W",
        lambda path, download, resize_inside: InceptionV3W(
            str(checkpoints), download=False, resize_inside=resize_inside
        ),
    )
    images = random_images(4, size).samples
    (tmp_path / "png").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "png" / f"{i}.png")
    expected = cleanfid_features(tmp_path / "png", mode, batch_size=4)
    network = Inception(mode)
    features = network(images)
    assert (features.dtype, features.shape) == (torch.float32, (4, network.num_features))
    assert network.name == f"inception_{mode}"
    assert expected.std(dim=0).max() > 1e-3 * expected.abs().max()
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6 * expected.abs().max())


def test_logits_come_with_the_features_and_give_the_networks_own_probabilities(checkpoints):
    write_torchscript(checkpoints)
    network, images = Inception("legacy_tensorflow"), random_images(3).samples
    features, logits = network.features_and_logits(images)
    assert torch.equal(features, network(images))
    torch.testing.assert_close(logits.softmax(dim=1), network.network.base(images.float()))


def test_pytorch_fid_has_features_only(checkpoints):
    write_pytorch_fid(checkpoints)
    network, images = Inception("legacy_pytorch"), random_images(1).samples
    features, logits = network.features_and_logits(images)
    assert features.shape == (1, 2048)
    assert logits is None
    with pytest.raises(UserError, match="legacy_pytorch lacks"):
        InceptionScore(network, 10)


def test_torchscript_may_lie_where_cleanfid_keeps_it(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "CLEANFID_FOLDER", tmp_path)
    write_torchscript(tmp_path)
    assert Inception("clean")(random_images(2).samples).shape == (2, 2048)


def test_inception_stays_frozen_inside_a_training_module(checkpoints):
    write_torchscript(checkpoints)
    network = Inception("clean")
    torch.nn.ModuleList([network]).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("mode", "file", "address"),
    [
        ("clean", "inception-2015-12-05.pt", "https://nvlabs-fi-cdn.nvidia.com/"),
        ("legacy_tensorflow", "inception-2015-12-05.pt", "https://nvlabs-fi-cdn.nvidia.com/"),
        ("legacy_pytorch", "pt_inception-2015-12-05-6726825d.pth", "https://github.com/mseitzer/"),
    ],
)
def test_a_missing_or_broken_file_is_named(mode, file, address, checkpoints):
    with pytest.raises(UserError) as error:
        Inception(mode)
    for part in (mode, str(checkpoints / file), address, "metrics=offline", "TORCH_HOME"):
        assert part in str(error.value)
    (checkpoints / file).write_bytes(b"half a download")
    with pytest.raises(UserError, match=rf"cannot use the weights file .*{file}") as error:
        Inception(mode)
    assert "\n" not in str(error.value)


def test_unknown_modes_and_other_images_are_refused(checkpoints):
    with pytest.raises(UserError, match="legacy_tensorflow, legacy_pytorch, clean"):
        Inception("tensorflow")
    write_torchscript(checkpoints)
    with pytest.raises(UserError, match="pass \\(B, 3, H, W\\) uint8"):
        Inception("clean")(torch.zeros(1, 3, 8, 8))


def test_inception_score_is_the_formula_over_consecutive_splits(checkpoints, monkeypatch):
    monkeypatch.setattr(inception, "_SPLIT_SIZE", 8)
    write_torchscript(checkpoints)
    network, images = Inception("legacy_tensorflow"), random_images(20)
    value = assert_splits_agree(InceptionScore(network, 20), images)
    p = network.network.base(images.samples.float()).double().numpy()
    p = p[images.position.argsort()]
    splits = []
    for part in (p[:8], p[8:16], p[16:]):
        divergence = part * (np.log(part) - np.log(part.mean(axis=0, keepdims=True)))
        splits.append(np.exp(divergence.sum(axis=1).mean()))
    assert min(splits) > 1.01
    assert value == {"is_inception_legacy_tensorflow": pytest.approx(np.mean(splits), rel=1e-6)}
    assert InceptionScore(network, 5000).sums()["p"].shape == (625, 1008)
