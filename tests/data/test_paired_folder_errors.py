import re
from pathlib import Path

import numpy as np
import pytest
from picture_files import as_folders, as_strips, as_table, hashed, picture, save, some_pairs
from PIL import Image
from torch.utils.data import DataLoader

from dbim_lightning.data import PairedFolder, paired_folder
from dbim_lightning.errors import UserError, one_line_errors


def test_missing_and_empty_roots(tmp_path):
    with pytest.raises(
        UserError, match=r"nowhere is no folder.*strips.*source/ target/.*pairs.csv"
    ):
        PairedFolder("train", tmp_path / "nowhere")
    image = save(tmp_path / "a.png", picture(64, 128, 3))
    with pytest.raises(UserError, match=r"a\.png is no folder and no \.csv file"):
        PairedFolder("train", image)
    for folders in (["empty"], ["two/source", "two/target"], ["three/train"]):
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True)
        root = tmp_path / folders[0].split("/")[0]
        with pytest.raises(UserError, match=f"no images in {root}: it must hold strips"):
            PairedFolder("train", root)
    with pytest.raises(UserError, match="empty has no two folders of pairs"):
        PairedFolder("train", tmp_path / "empty", layout="folders")
    with pytest.raises(UserError, match=r"cannot read .*pairs\.csv"):
        PairedFolder("train", tmp_path / "empty", layout="csv")


def test_single_images_are_no_strips(tmp_path):
    for i in range(40):
        save(tmp_path / f"{i:02}.png", picture(20, 30, 3))
    with pytest.raises(
        UserError, match=r"no pairs are recognised \(.*/00\.png is 30x20.*layout=strips"
    ):
        PairedFolder("train", tmp_path, 8)
    (pair, *_) = PairedFolder("train", tmp_path, 8, layout="strips")
    assert pair["x_0"].shape == (3, 8, 8)


def test_every_image_is_looked_at_and_a_mixture_shows_one_of_each(tmp_path):
    as_strips(tmp_path, some_pairs(6))
    save(tmp_path / "zz.png", picture(20, 30, 3))
    with pytest.raises(UserError, match=r"/000\.png is 32x16, .*/zz\.png is 30x20: keep one kind"):
        PairedFolder("train", tmp_path, 8)
    assert len(PairedFolder("train", tmp_path, 8, layout="strips")) > 0
    (tmp_path / "zz.png").write_bytes(b"")
    assert len(PairedFolder("train", tmp_path, 8, check=False)) > 0


@pytest.mark.parametrize("sides", [("images", "labels"), ("Image", "mask"), ("left", "right")])
@pytest.mark.parametrize("place", ["train/", ""])
def test_two_folders_of_which_none_is_known_as_the_source_are_no_strips(tmp_path, sides, place):
    for side in sides:
        as_strips(tmp_path / f"{place}{side}", some_pairs(5))
    with pytest.raises(UserError, match=r"look like the two sides of pairs: rename .* to source"):
        PairedFolder("train", tmp_path, 8)
    if "left" not in sides:  # names that speak do without equal files
        (tmp_path / place / sides[0] / "000.png").unlink()
        with pytest.raises(UserError, match="look like the two sides of pairs"):
            PairedFolder("train", tmp_path, 8)
    (tmp_path / place / "source").symlink_to(tmp_path / place / sides[1])
    (tmp_path / place / "target").symlink_to(tmp_path / place / sides[1])
    assert len(PairedFolder("train", tmp_path, 8)) > 0


def test_several_layouts(tmp_path):
    as_folders(tmp_path / "source", tmp_path / "target", some_pairs(2))
    as_folders(tmp_path / "A", tmp_path / "B", some_pairs(2))
    with pytest.raises(UserError, match="folders source and target and also folders A and B"):
        PairedFolder("train", tmp_path)
    for folder in ("trainA", "trainB", "valA"):
        (tmp_path / "gan" / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=r"valA has no partner .*valB"):
        PairedFolder("train", tmp_path / "gan")
    for folder in ("train", "val", "valid"):
        as_strips(tmp_path / "strips" / folder, some_pairs(1))
    with pytest.raises(UserError, match="two folders for the validation split"):
        PairedFolder("train", tmp_path / "strips")


def test_pairs_without_partner(tmp_path):
    as_folders(tmp_path / "source", tmp_path / "target", some_pairs(30))
    for i in range(0, 24, 2):
        (tmp_path / f"target/{i:03}.bmp").unlink()
    save(tmp_path / "target/alone.png", picture(16, 16, 3))
    with pytest.raises(UserError, match="13 images have no partner") as error:
        PairedFolder("train", tmp_path, 16)
    assert str(error.value).count(".png") == 10
    assert "source/018.png, ..." in str(error.value)
    assert "020" not in str(error.value)


def test_equal_names(tmp_path):
    pairs = some_pairs(2)
    as_folders(tmp_path / "source", tmp_path / "target", pairs)
    save(tmp_path / "source/000.jpg", pairs["000"][0])
    with pytest.raises(UserError, match=r"000\.jpg and .*000\.png have one name"):
        PairedFolder("train", tmp_path, 16)


def test_bad_tables(tmp_path):
    save(tmp_path / "a.png", picture(16, 16, 3))
    pair, table = ("a.png", "a.png"), tmp_path / "pairs.csv"
    as_table(table, [pair], "from,target")
    with pytest.raises(
        UserError, match="columns from, target: its first line must be source,target"
    ):
        PairedFolder("train", tmp_path)
    as_table(table, [pair, ("a.png", "")])
    with pytest.raises(UserError, match="no target in row 2"):
        PairedFolder("train", tmp_path)
    as_table(table, [("a.png", f"{i:02}.png") for i in range(12)])
    with pytest.raises(UserError, match=r"12 files that are not there.*/09\.png, \.\.\.$"):
        PairedFolder("train", tmp_path)
    as_table(table, [(*pair, "dev")], "source,target,split")
    with pytest.raises(UserError, match="split 'dev': use train"):
        PairedFolder("train", tmp_path)
    as_table(table, [pair, pair])
    with pytest.raises(UserError, match="two pairs a: tell them apart"):
        PairedFolder("train", tmp_path)
    table.write_bytes(b"source,target\n\xff,\xff\n")
    with pytest.raises(UserError, match="save it as CSV in UTF-8"):
        PairedFolder("train", tmp_path)
    table.write_bytes(b"")
    with pytest.raises(UserError, match=r"columns \(none\)"):
        PairedFolder("train", tmp_path)
    as_table(table, [])
    with pytest.raises(UserError, match="no images"):
        PairedFolder("train", tmp_path)


def test_an_empty_split(tmp_path):
    name = next(str(i) for i in range(99) if hashed(str(i)) == "train")
    as_strips(tmp_path, {name: picture(2, 16, 16, 3)})
    assert len(PairedFolder("train", tmp_path, 16)) == 1
    for split in ("validation", "test"):
        with pytest.raises(
            UserError, match=rf"no {split} pairs .*1 train, 0 vali.*folder {split}/"
        ):
            PairedFolder(split, tmp_path, 16)


def wrong_pairs(root: Path) -> dict[Path, str]:
    """Folders with one wrong pair each, and what is said of it."""
    square = picture(32, 32, 3)
    wrong = {
        "odd": (picture(32, 65, 3), None, r"a\.png is 65 wide, an odd number"),
        "half": (picture(64, 62, 3), None, r"a half of .*a\.png is 31x64, smaller than .*size=32"),
        "small": (square, picture(30, 31, 3), r"target/a\.png is 31x30, smaller than .*size=32"),
        "shape": (square, picture(32, 33, 3), "a has a source of 32x32 and a target of 33x32.*fit"),
    }
    said = {}
    for name, (source, target, message) in wrong.items():
        for split in ("train", "val"):
            folder = root / name / split
            save(folder / ("a.png" if target is None else "source/a.png"), source)
            if target is not None:
                save(folder / "target/a.png", target)
        said[root / name] = message
    return said


def test_wrong_sizes_are_found_with_and_without_checking(tmp_path):
    for root, message in wrong_pairs(tmp_path).items():
        layout = "strips" if root.name in ("odd", "half") else "auto"
        with pytest.raises(UserError, match=message):
            PairedFolder("train", root, 32, layout)
        data = PairedFolder("train", root, 32, layout, check=False)
        with pytest.raises(UserError, match=message):
            data[0]
    (pair,) = PairedFolder("train", tmp_path / "shape", 32, fit="squash")
    assert pair["x_0"].shape == (3, 32, 32)


def test_shapes_may_differ_by_rounding(tmp_path):
    for split in ("train", "val"):
        save(tmp_path / split / "source/a.png", picture(100, 101, 3))
        save(tmp_path / split / "target/a.png", picture(100, 100, 3))
    assert PairedFolder("train", tmp_path, 32)[0]["x_T"].shape == (3, 32, 32)


def test_images_that_do_not_decode(tmp_path, monkeypatch):
    for split in ("train", "val"):
        as_strips(tmp_path / split, some_pairs(3, 32, 32))
    whole = (tmp_path / "train/000.png").read_bytes()
    (tmp_path / "train/000.png").write_bytes(whole[: len(whole) // 2])
    data = PairedFolder("train", tmp_path, 32)
    with pytest.raises(UserError, match=r"000\.png is not a readable image"):
        data[0]
    assert data[1]["name"] == "002"
    (tmp_path / "train/002.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"002\.png is not a readable image"):
        PairedFolder("train", tmp_path, 32)
    (tmp_path / "train/002.png").unlink()
    with pytest.raises(UserError, match=r"no image at .*002\.png"):
        data[1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(UserError, match=r"not a readable image .*decompression bomb"):
        data[2]


def test_checking_decodes_no_pixels(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 3
    for split in ("train", "val"):
        save(tmp_path / split / "a.png", picture(32, 64, 3))
        save(tmp_path / split / "b.jpg", picture(32, 64, 3), exif=exif)
    monkeypatch.setattr(paired_folder, "read_image", None)
    monkeypatch.setattr(Image.Image, "load", None)
    assert len(PairedFolder("train", tmp_path, 32)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "dataset.split=val does not exist: choose train, validation, test"),
        ({"layout": "strip"}, "dataset.layout=strip does not exist: choose auto, strips"),
        ({"source_side": "top"}, "dataset.source_side=top does not exist: choose left, right"),
        ({"fit": "pad"}, "dataset.fit=pad does not exist: choose crop, squash"),
        ({"image_size": 0}, "dataset.image_size=0"),
    ],
)
def test_options_that_do_not_exist(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        PairedFolder(**{"split": "train", "root": tmp_path} | options)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_in_training_is_one_line(tmp_path, workers):
    as_strips(tmp_path / "train", some_pairs(4))
    as_strips(tmp_path / "val", some_pairs(1))
    broken = tmp_path / "train" / "000.png"
    broken.write_bytes(broken.read_bytes()[:-300])
    loader = DataLoader(PairedFolder("train", tmp_path, 16), num_workers=workers)
    message = f"error: {broken} is not a readable image (image file is truncated): repair or rem"
    with pytest.raises(SystemExit, match=f"^{re.escape(message)}ove it$"), one_line_errors():
        list(loader)


def test_capitals_of_split_folders_do_not_matter(tmp_path):
    as_strips(tmp_path / "Train", some_pairs(3))
    as_strips(tmp_path / "TEST", {"x": picture(2, 16, 16, 3)})
    assert len(PairedFolder("train", tmp_path, 16)) == 3
    assert [pair["name"] for pair in PairedFolder("test", tmp_path, 16)] == ["x"]
    as_strips(tmp_path / "train", some_pairs(3))
    with pytest.raises(UserError, match=r"Train and .*train have one name"):
        PairedFolder("train", tmp_path, 16)


@pytest.mark.parametrize("there", ["test/low", "test"])
def test_a_split_without_the_folders_of_the_others_is_no_part_of_training(tmp_path, there):
    for side in ("low", "high"):
        as_strips(tmp_path / "train" / side, some_pairs(3))
    as_strips(tmp_path / there, some_pairs(3))
    with pytest.raises(UserError, match=r"test has no two folders of pairs, as train have"):
        PairedFolder("train", tmp_path, 16)


def test_columns_of_a_table_may_have_capitals_and_blanks(tmp_path):
    save(tmp_path / "a.png", picture(16, 16, 3))
    rows = [("a.png", "a.png", "train"), ("a.png", "a.png", "test")]
    as_table(tmp_path / "pairs.csv", rows, "Source, target,Split ")
    assert len(PairedFolder("train", tmp_path, 16)) == len(PairedFolder("test", tmp_path, 16)) == 1


@pytest.mark.parametrize(("place", "deeper"), [("train", "x"), ("", "train"), ("", "x/y")])
def test_two_folders_of_deeper_images_are_no_strips(tmp_path, place, deeper):
    sides = [tmp_path / place / side for side in ("images", "labels")]
    for side in sides:
        as_strips(side / deeper, some_pairs(5))
    with pytest.raises(UserError, match=f"^{sides[0]} and {sides[1]} look like the two sides"):
        PairedFolder("train", tmp_path, 8)


def test_a_split_with_one_of_two_sides_is_refused(tmp_path):
    for folder in ("input/train", "output/train", "input/val"):
        save(tmp_path / folder / "a.png", picture(16, 16, 3))
    with pytest.raises(UserError, match=r"input/val has no partner .*output/val"):
        PairedFolder("train", tmp_path, 8)


def test_a_strip_has_one_range(tmp_path):
    as_strips(tmp_path / "train", some_pairs(1))
    as_strips(tmp_path / "val", some_pairs(1))
    with pytest.raises(UserError, match=r"dataset\.range=\['minmax', '8bit'\]: a strip has one"):
        PairedFolder("train", tmp_path, 16, range=["minmax", "8bit"])
    assert len(PairedFolder("train", tmp_path, 16, range=["minmax", "minmax"])) == 1


def test_what_pillow_does_not_read_is_told_where_nothing_is_left(tmp_path, capsys):
    (tmp_path / "photo.heic").touch()
    with pytest.raises(UserError, match="no images in"):
        PairedFolder("train", tmp_path)
    assert f"{tmp_path}: left out 1 .heic" in capsys.readouterr().out


def test_without_a_check_no_broken_file_stops_before_it_is_read(tmp_path):
    numbers = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    for split in ("train", "val"):
        for name, values in (("a", numbers), ("b", np.full_like(numbers, np.nan)), ("c", numbers)):
            save(tmp_path / f"{split}/source/{name}.tif", values)
            save(tmp_path / f"{split}/target/{name}.png", picture(16, 16, 3))
    (tmp_path / "train/target/c.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"source/b\.tif has values that are no numbers"):
        PairedFolder("train", tmp_path, 16)
    data = PairedFolder("train", tmp_path, 16, check=False)
    assert data[0]["name"] == "a"
    for index, file in (1, "source/b.tif"), (2, "target/c.png"):
        with pytest.raises(UserError, match=re.escape(file)):
            data[index]
