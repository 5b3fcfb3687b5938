import cleanfid.features
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from published_files import random_images, write_pytorch_fid, write_torchscript

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation.features import inception
from dbim_lightning.evaluation.features.inception import MODES, Inception
from dbim_lightning.evaluation.metrics import FeatureDistance

WRITERS = dict.fromkeys(MODES, write_torchscript) | {"legacy_pytorch": write_pytorch_fid}


CPU = torch.device("cpu")
OPTIONS = {"num_workers": 0, "device": CPU, "verbose": False}


@pytest.fixture
def fid(cleanfid_fid, checkpoints, monkeypatch):
    """clean-fid's module, which finds its TorchScript file."""
    monkeypatch.setattr(
        cleanfid.features,
        "InceptionV3W",
        lambda path, download, resize_inside: InceptionV3W(
            str(checkpoints), download=False, resize_inside=resize_inside
        ),
    )
    return cleanfid_fid


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of clean-fid
@pytest.mark.parametrize("size", [48, 320])
@pytest.mark.parametrize("mode", MODES)
def test_features_are_those_of_cleanfid(mode, size, checkpoints, fid, tmp_path):
    WRITERS[mode](checkpoints)
    images = random_images(4, size).samples
    write_png(tmp_path / "png", images)
    model = fid.build_feature_extractor(mode, device=CPU, use_dataparallel=False)
    folder = str(tmp_path / "png")
    expected = fid.get_folder_features(folder, model, mode=mode, batch_size=4, **OPTIONS)
    expected = torch.from_numpy(expected)
    network = Inception(mode)
    features = network(images)
    assert (features.dtype, features.shape) == (torch.float32, (4, network.num_features))
    assert network.name == f"inception_{mode}"
    assert expected.std(dim=0).max() > 1e-3 * expected.abs().max()
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6 * expected.abs().max())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Matrix is singular", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_fid_of_files_is_cleanfids(checkpoints, fid, tmp_path):
    write_torchscript(checkpoints)
    images = torch.randint(256, (2, 2100, 3, 16, 16), dtype=torch.uint8)
    images[0] = images[0] // 2 + 64
    for folder, part in zip(("samples", "targets"), images, strict=True):
        write_png(tmp_path / folder, part)
    folders = [str(tmp_path / folder) for folder in ("samples", "targets")]
    mode = "legacy_tensorflow"
    expected = fid.compute_fid(*folders, mode=mode, use_dataparallel=False, **OPTIONS)
    x_0 = images[1].float() / 127.5 - 1
    pairs = [{"x_0": x, "x_T": x, "index": i, "name": str(i)} for i, x in enumerate(x_0)]
    protocol = Protocol("toy", measured={"inception": FeatureDistance(Inception(mode))})
    judge = Evaluator(lambda split: pairs, protocol, folder=tmp_path)
    numbers = judge.given(tmp_path / "samples").row["metrics"]
    assert numbers[f"fid_inception_{mode}"] == pytest.approx(expected, rel=1e-6)


def write_png(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")


def test_logits_of_the_features_give_the_networks_own_probabilities(checkpoints):
    write_torchscript(checkpoints)
    network, images = Inception("legacy_tensorflow"), random_images(3).samples
    logits = network.logits(network(images))
    torch.testing.assert_close(logits.softmax(dim=1), network.network.base(images.float()))


def test_pytorch_fid_gives_features(checkpoints):
    write_pytorch_fid(checkpoints)
    assert Inception("legacy_pytorch")(random_images(1).samples).shape == (1, 2048)


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
