from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import (
    as_folders,
    as_strips,
    as_table,
    hashed,
    picture,
    save,
    some_pairs,
    tensors,
)
from PIL import Image

from dbim_lightning.data import OpenMoji, PairedFolder
from dbim_lightning.pictures import to_uint8
from dbim_lightning.training import PairDataModule

SPLITS = ("train", "validation", "test")
FOLDER_FORMS = [
    ("{split}/source", "{split}/target"),
    ("source/{split}", "target/{split}"),
    ("{split}/A", "{split}/B"),
    ("A/{split}", "B/{split}"),
    ("{split}A", "{split}B"),
]


def all_of(root: Path, **options) -> dict[str, list]:
    return {split: list(PairedFolder(split, root, 16, **options)) for split in SPLITS}


def assert_equal(one: dict[str, list], other: dict[str, list]) -> None:
    for split in SPLITS:
        assert len(one[split]) == len(other[split]) > 0
        for a, b in zip(one[split], other[split], strict=True):
            assert (a["index"], a["name"]) == (b["index"], b["name"])
            assert torch.equal(a["x_0"], b["x_0"])
            assert torch.equal(a["x_T"], b["x_T"])


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_layouts_agree_and_hash_divides(tmp_path, fit):
    pairs = some_pairs(60, 20, 24)
    as_strips(tmp_path / "strips", pairs)
    as_strips(tmp_path / "reversed", pairs, reverse=True)
    as_folders(tmp_path / "two/source", tmp_path / "two/target", pairs)
    as_folders(tmp_path / "ab/A", tmp_path / "ab/B", pairs)
    rows = [(f"ab/A/{name}.png", tmp_path / f"ab/B/{name}.bmp", name) for name in pairs]
    table = as_table(tmp_path / "any.csv", rows[::-1], "source,target,name")

    expected = all_of(tmp_path / "strips", fit=fit)
    for split, data in expected.items():
        assert [pair["name"] for pair in data] == sorted(n for n in pairs if hashed(n) == split)
        assert [pair["index"] for pair in data] == list(range(len(data)))
        assert all(pair[key].shape == (3, 16, 16) for pair in data for key in ("x_0", "x_T"))
    assert_equal(expected, all_of(tmp_path / "reversed", fit=fit, source_side="right"))
    assert_equal(expected, all_of(tmp_path / "two", fit=fit))
    assert_equal(expected, all_of(tmp_path / "ab", fit=fit))
    assert_equal(expected, all_of(table, fit=fit, check=False))


def test_values_of_a_pair(tmp_path):
    pairs = some_pairs(1)
    as_strips(tmp_path / "train", pairs)
    as_strips(tmp_path / "val", pairs)
    (pair,) = PairedFolder("train", tmp_path, 16)
    assert torch.equal(pair["x_T"], tensors(pairs["000"][0]))
    assert torch.equal(pair["x_0"], tensors(pairs["000"][1]))
    assert (pair["index"], pair["name"]) == (0, "000")


def test_strips_are_cut_before_squashing_as_published(tmp_path):
    source, target = picture(2, 64, 64, 3)
    save(tmp_path / "train/a.png", np.hstack([source, target]))
    save(tmp_path / "val/a.png", np.hstack([source, target]))
    (pair,) = PairedFolder("train", tmp_path, 24, fit="squash")
    for key, image in ("x_T", source), ("x_0", target):
        resized = Image.fromarray(image).resize((24, 24), Image.Resampling.BICUBIC)
        assert torch.equal(pair[key], tensors(np.array(resized)))


@pytest.mark.parametrize("form", FOLDER_FORMS, ids=" ".join)
@pytest.mark.parametrize("validation", ["val", "validation", "valid"])
def test_split_folders(tmp_path, form, validation):
    pairs = some_pairs(6)
    parts = {"train": ["000", "deep/003"], validation: ["002"], "test": ["004", "deep/001"]}
    for split, names in parts.items():
        source, target = (tmp_path / side.format(split=split) for side in form)
        as_folders(source, target, {name: pairs[name] for name in names})
    found = all_of(tmp_path)
    names = {split: [pair["name"] for pair in data] for split, data in found.items()}
    assert names == {
        split: parts[validation if split == "validation" else split] for split in names
    }
    assert all(torch.equal(pair["x_T"], tensors(pairs[pair["name"]][0])) for pair in found["test"])


@pytest.mark.parametrize("only", ["val", "test"])
def test_one_folder_serves_as_validation_and_test(tmp_path, capsys, only):
    pairs = some_pairs(5)
    as_strips(tmp_path / "train", pairs)
    as_strips(tmp_path / only, {"x": pairs["000"]})
    assert [p["name"] for p in PairedFolder("validation", tmp_path, 16)] == ["x"]
    assert [p["name"] for p in PairedFolder("test", tmp_path, 16)] == ["x"]
    assert "5 train, 1 validation, 1 test (the same)" in capsys.readouterr().out


def test_it_tells_once_what_it_found(tmp_path, capsys):
    strips = as_strips(tmp_path / "strips", some_pairs(60))
    all_of(strips)
    counts = {split: sum(hashed(name) == split for name in some_pairs(60)) for split in SPLITS}
    assert capsys.readouterr().out == (
        f"{strips}: source|target strips side by side, split by hash of the name, "
        f"{counts['train']} train, {counts['validation']} validation, {counts['test']} test\n"
    )
    as_folders(tmp_path / "two/trainA", tmp_path / "two/trainB", some_pairs(3))
    as_folders(tmp_path / "two/testA", tmp_path / "two/testB", some_pairs(2))
    all_of(tmp_path / "two")
    told = "folders *A and *B, 3 train, 2 validation, 2 test (the same)"
    assert capsys.readouterr().out == f"{tmp_path / 'two'}: {told}\n"


def test_table_with_splits_names_and_relative_paths(tmp_path):
    pairs = some_pairs(4)
    as_folders(tmp_path / "some/where", tmp_path / "else", pairs)
    rows = [
        ("some/where/002.png", "else/002.bmp", "train", ""),
        ("some/where/000.png", "else/000.bmp", "train", "zero"),
        ("some/where/deep/001.png", tmp_path / "else/deep/001.bmp", "valid", "one"),
        ("some/where/deep/003.png", "else/deep/003.bmp", "test", "three"),
    ]
    as_table(tmp_path / "pairs.csv", rows, "\ufeffsource,target,split,name")
    found = all_of(tmp_path)
    names = {split: [pair["name"] for pair in data] for split, data in found.items()}
    expected = {"train": ["some/where/002", "zero"], "validation": ["one"], "test": ["three"]}
    assert names == expected
    assert torch.equal(found["test"][0]["x_T"], tensors(pairs["deep/003"][0]))


def test_layout_can_be_forced(tmp_path):
    pairs = some_pairs(3, 16, 32)
    for split in ("train", "test"):
        as_folders(tmp_path / split / "A", tmp_path / split / "B", pairs)
    as_table(
        tmp_path / "pairs.csv",
        [("train/A/000.png", "train/B/000.bmp", "train")],
        "source,target,split",
    )
    assert len(PairedFolder("train", tmp_path, 16)) == 1
    assert len(PairedFolder("train", tmp_path, 16, layout="csv")) == 1
    assert len(PairedFolder("train", tmp_path, 16, layout="folders")) == 3
    assert len(PairedFolder("train", tmp_path, 16, layout="strips")) == 6


def test_order_does_not_depend_on_the_disk(tmp_path):
    names = ["b", "a-1", "a", "a/b", "B"]
    pixels = picture(16, 32, 3)
    for folder, order in ("one", names), ("two", names[::-1]):
        for split in ("train", "val"):
            for name in order:
                save(tmp_path / folder / split / f"{name}.png", pixels)
    for folder in ("one", "two"):
        data = PairedFolder("train", tmp_path / folder, 16)
        assert [pair["name"] for pair in data] == ["B", "a", "a-1", "a/b", "b"]


def test_different_sizes_of_equal_shape(tmp_path):
    large, small = picture(60, 40, 3), picture(30, 20, 3)
    for split in ("train", "test"):
        save(tmp_path / split / "source/a.png", large)
        save(tmp_path / split / "target/a.png", small)
    (pair,) = PairedFolder("train", tmp_path, 20)
    assert torch.equal(pair["x_0"], tensors(small[5:25]))
    resized = Image.fromarray(large).resize((20, 30), Image.Resampling.BICUBIC)
    assert torch.equal(pair["x_T"], tensors(np.array(resized)[5:25]))


@pytest.fixture(scope="module")
def openmoji(openmoji_root) -> dict[str, list]:
    """The first three dozen pairs of each split, as the loaders get them."""
    return {s: [d[i] for i in range(36)] for s in SPLITS for d in [OpenMoji(s, 32, openmoji_root)]}


@pytest.mark.parametrize("layout", ["strips", "folders", "csv"])
def test_openmoji_written_out_is_openmoji(tmp_path, openmoji, layout):
    rows = []
    for split, data in openmoji.items():
        for pair in data:
            source, target = (
                to_uint8(pair[key]).permute(1, 2, 0).numpy() for key in ("x_T", "x_0")
            )
            file = f"{split}/{pair['name']}.png"
            if layout == "strips":
                save(tmp_path / file, np.hstack([source, target]))
            else:
                save(tmp_path / "source" / file, source)
                save(tmp_path / "target" / file, target)
                rows.append((f"source/{file}", f"target/{file}", split, pair["name"]))
    if layout == "csv":
        as_table(tmp_path / "pairs.csv", rows, "source,target,split,name")
    found = {split: list(PairedFolder(split, tmp_path, 32)) for split in SPLITS}
    assert_equal(found, openmoji)


def test_loads_in_worker_processes(tmp_path):
    pairs = some_pairs(6)
    as_strips(tmp_path / "train", pairs)
    as_strips(tmp_path / "val", pairs)
    module = PairDataModule(lambda split: PairedFolder(split, tmp_path, 16), 4, num_workers=1)
    module.setup("validate")
    module.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 1})
    batches = list(module.val_dataloader())
    assert [name for batch in batches for name in batch["name"]] == sorted(pairs)
    assert batches[0]["x_0"].shape == (4, 3, 16, 16)
