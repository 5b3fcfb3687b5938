"""Restoration of any folder, and of folders in the form of ImageNet."""

from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from picture_files import hashed
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms

from dbim_lightning.data import Restoration
from dbim_lightning.data.corruptions import inpaint_freeform, sr4x_pool
from dbim_lightning.data.images import image_files
from dbim_lightning.data.splits import SPLITS
from dbim_lightning.errors import UserError
from dbim_lightning.resolvers import CONF

NAMES = ["jpeg", "sr4x_pool", "sr4x_bicubic", "blur_uniform", "blur_gauss", "inpaint_center"]
NAMES += ["inpaint_freeform"]


def write(path, size=(40, 40), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """60 images, some deeper than others."""
    for i in range(60):
        write(tmp_path / "images" / ("deep/er/" if i % 3 else "") / f"{i}.png", seed=i)
    return tmp_path / "images"


@pytest.fixture
def imagenet(tmp_path):
    """Two classes in train, three in test, of which one image is small."""
    root = tmp_path / "imagenet"
    for i, wnid in enumerate(["n02", "n01", "n02", "n01"]):
        write(root / "train" / wnid / f"{wnid}_{i}.JPEG", (300, 280), seed=i)
    for i, wnid in enumerate(["n03", "n01", "n03", "n02"]):
        write(root / "test" / wnid / f"ILSVRC2012_val_{i}.JPEG", (200 + 60 * i, 270), seed=i)
    return root


def configured(choice, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"dataset={choice}", *overrides])
    return instantiate(cfg.dataset, _convert_="all")


@pytest.mark.parametrize("name", NAMES)
def test_every_task_by_its_name(name, folder):
    overrides = [f"dataset.root={folder}", f"dataset.corruption={name}", "dataset.image_size=32"]
    data = configured("restoration", *overrides)("train")
    batch = default_collate([data[0], data[1]])
    assert batch["x_0"].shape == batch["x_T"].shape == (2, 3, 32, 32)
    assert batch["x_0"].abs().max() <= 1
    assert batch["index"].tolist() == [0, 1]
    assert ("mask" in batch) == name.startswith("inpaint")
    assert "label" not in batch


def test_a_function_of_ones_own(folder):
    def negative(image, index):
        return {"x_T": -image}

    pair = Restoration("train", folder, negative, 32)[3]
    assert torch.equal(pair["x_T"], -pair["x_0"])
    own = "{_target_: dbim_lightning.data.corruptions.jpeg, _partial_: true, quality: 5}"
    overrides = [f"dataset.root={folder}", f"dataset.corruption={own}", "dataset.image_size=32"]
    worse = configured("restoration", *overrides)("train")[3]
    better = Restoration("train", folder, "jpeg", 32)[3]
    assert torch.equal(worse["x_0"], better["x_0"])
    assert not torch.equal(worse["x_T"], better["x_T"])


def test_pairs_are_corrupted_by_their_index(folder):
    data = Restoration("train", folder, "inpaint_freeform", 32)
    for index in (0, 5):
        pair = data[index]
        expected = inpaint_freeform(pair["x_0"], index)
        assert torch.equal(pair["x_T"], expected["x_T"])
        assert torch.equal(pair["mask"], expected["mask"])


def test_hash_divides_a_folder_without_splits(folder):
    splits = {split: Restoration(split, folder, "jpeg", 32) for split in SPLITS}
    names = {split: [pair["name"] for pair in data] for split, data in splits.items()}
    assert sorted(chain(*names.values())) == sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in image_files(folder)
    )
    for split in SPLITS:
        assert names[split] == sorted(names[split])
        assert {hashed(name) for name in names[split]} == {split}
    assert len(names["train"]) > 40


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (["train", "val", "test"], ["train", "val", "test"]),
        (["train", "valid"], ["train", "valid", "valid"]),
        (["train", "test"], ["train", "test", "test"]),
    ],
)
def test_split_folders(folders, found, tmp_path):
    for folder in folders:
        write(tmp_path / folder / f"{folder}.png")
    data = [Restoration(split, tmp_path, "jpeg", 32) for split in SPLITS]
    assert [[pair["name"] for pair in part] for part in data] == [[name] for name in found]


def test_a_lone_train_folder_is_divided_by_hash(folder, tmp_path):
    alone = [pair["name"] for pair in Restoration("test", folder, "jpeg", 32)]
    (tmp_path / "root").mkdir()
    folder.rename(tmp_path / "root" / "train")
    assert [pair["name"] for pair in Restoration("test", tmp_path / "root", "jpeg", 32)] == alone


def test_imagenet_as_published(imagenet):
    data = configured("imagenet_inpaint_center", f"dataset.root={imagenet}")("test")
    assert [(pair["name"], pair["label"]) for pair in data] == [
        ("n01/ILSVRC2012_val_1", 0),
        ("n02/ILSVRC2012_val_3", 1),
        ("n03/ILSVRC2012_val_0", 2),
        ("n03/ILSVRC2012_val_2", 2),
    ]
    published = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(256), transforms.ToTensor()]
    )
    for pair in data:
        image = Image.open(imagenet / "test" / f"{pair['name']}.JPEG")
        assert torch.allclose(pair["x_0"], 2 * published(image) - 1, atol=1e-6)
        assert (pair["x_T"][:, 64:192, 64:192] == 0).all()
        assert pair["mask"].sum() == 128**2
    train = configured("imagenet_inpaint_center", f"dataset.root={imagenet}")("train")
    assert [pair["label"] for pair in train] == [0, 0, 1, 1]


def test_freeform_on_imagenet(imagenet, tmp_path):
    data = configured("imagenet_inpaint_freeform", f"dataset.root={imagenet}")("test")
    assert all(0.2 <= pair["mask"].mean() <= 0.3 for pair in data)
    assert not torch.equal(data[0]["mask"], data[1]["mask"])
    masks = np.random.default_rng(0).random((4, 256, 256)) < 0.25
    path = tmp_path / "masks.npz"
    np.savez(path, **{"20-30% freeform": np.packbits(masks)})
    overrides = [f"dataset.root={imagenet}", f"dataset.corruption.mask_file={path}"]
    data = configured("imagenet_inpaint_freeform", *overrides)("test")
    for pair in data:
        assert np.array_equal(pair["mask"][0], masks[pair["index"]])


def test_a_list_restricts_the_test_split(imagenet, tmp_path):
    table = tmp_path / "10k.txt"
    table.write_text("/elsewhere/val/n03/ILSVRC2012_val_2.JPEG\nILSVRC2012_val_1\n\n")
    overrides = [f"dataset.root={imagenet}", f"dataset.names={table}"]
    make = configured("imagenet_inpaint_center", *overrides)
    listed = [(pair["index"], pair["name"], pair["label"]) for pair in make("test")]
    assert listed == [(0, "n01/ILSVRC2012_val_1", 0), (1, "n03/ILSVRC2012_val_2", 2)]
    assert len(make("train")) == len(make("validation")) == 4
    table.write_text("ILSVRC2012_val_1\nILSVRC2012_val_9\n")
    with pytest.raises(UserError, match="lists 1 images that are not there, like ILSVRC2012_val_9"):
        make("test")
    table.unlink()
    with pytest.raises(UserError, match=r"cannot read dataset.names=.*10k\.txt"):
        make("test")


def test_errors(folder, tmp_path):
    make = partial(Restoration, "train", folder)
    with pytest.raises(UserError, match=r"blur does not exist: choose blur_gauss.*sr4x_pool"):
        make("blur")
    with pytest.raises(UserError, match="no split 'val'"):
        Restoration("val", folder, "jpeg")
    with pytest.raises(UserError, match=r"no train images in .*missing: set dataset.root"):
        Restoration("train", tmp_path / "missing", "jpeg")
    with pytest.raises(UserError, match=r"prepare it with python -m .* imagenet"):
        configured("imagenet_inpaint_center", f"dataset.root={tmp_path / 'missing'}")("train")
    with pytest.raises(UserError, match=r"\d\.png is 40x40, smaller than dataset.image_size=64"):
        make("jpeg")[0]
    with pytest.raises(UserError, match="30x30 pixels cannot be a quarter"):
        make(sr4x_pool, 30)
    with pytest.raises(UserError, match=r"\.png is in no class folder"):
        make("jpeg", labels=True)
    (folder / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"0\.png is not a readable image"):
        Restoration(hashed("0"), folder, "jpeg", 32)[0]


def test_hidden_files_and_others_are_no_images(folder):
    for hidden_or_other in (".hidden.png", "notes.txt", "png"):
        (folder / hidden_or_other).touch()
    write(folder / "UPPER.JPG")
    names = [path.relative_to(folder).as_posix() for path in image_files(folder)]
    assert names == sorted(names)
    assert len(names) == 61
    assert "UPPER.JPG" in names


def test_links_to_one_image_stay_in_one_split(folder, tmp_path):
    (tmp_path / "links").mkdir()
    for i in range(40):
        deep = "deep/er/" if i // 4 % 3 else ""
        (tmp_path / f"links/{i:02}.png").symlink_to(folder / f"{deep}{i // 4}.png")
    found = []
    for split in SPLITS:
        if split in {hashed(f"{i:02}") for i in range(0, 40, 4)}:
            data = Restoration(split, tmp_path / "links", "jpeg", 32)
            assert data.groups == [f"{int(pair['name']) // 4 * 4:02}" for pair in data]
            assert {hashed(group) for group in data.groups} == {split}
            found += data.groups
    assert len(found) == 40


def test_images_of_few_colours_keep_them(folder):
    overrides = [f"dataset.root={folder}", "dataset.image_size=32"]
    for path in image_files(folder):
        Image.fromarray(np.array(Image.open(path)) // 128 * 255).save(path)
    colours = {}
    for how in ("nearest", "bicubic"):
        data = configured("restoration", *overrides, f"dataset.interpolation={how}")("train")
        colours[how] = len(data[0]["x_0"].unique())
    assert colours["nearest"] == 2 < colours["bicubic"]
