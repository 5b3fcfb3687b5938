import unicodedata
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
from dbim_lightning.errors import UserError
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
    rows = [(f"{name}.png", tmp_path / f"ab/B/{name}.bmp") for name in pairs]
    table = as_table(tmp_path / "ab/A/any.csv", rows[::-1])

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


@pytest.mark.parametrize(
    "form",
    [("input", "output"), ("{split}/Sketch", "{split}/Photo"), ("LR/{split}", "HR/{split}")],
    ids=" ".join,
)
def test_names_that_speak_are_known(tmp_path, form):
    pairs = some_pairs(6, 16, 32)  # which look like strips
    for split in ("train", "val") if "{split}" in form[0] else ("",):
        as_folders(*(tmp_path / side.format(split=split) for side in form), pairs)
    pair = PairedFolder("train", tmp_path, 16)[0]
    assert torch.equal(pair["x_T"], tensors(pairs[pair["name"]][0])[:, :, 8:24])


def test_one_of_two_names_that_speak_is_just_a_folder(tmp_path):
    for split in ("train", "val"):
        as_strips(tmp_path / split / "photos", some_pairs(3))
    assert len(PairedFolder("train", tmp_path, 16)) == 3


def test_folders_of_the_system_are_no_data_and_what_is_left_out_is_told(tmp_path, capsys):
    for split in ("train", "val"):
        as_strips(tmp_path / split, some_pairs(2))
    for hidden in (".ipynb_checkpoints", ".trash", "@eaDir", "__MACOSX"):
        as_strips(tmp_path / "train" / hidden, some_pairs(2))
    save(tmp_path / "train/._000.png", picture(16, 32, 3))
    save(tmp_path / "train/one.ppm", picture(16, 32, 3))
    save(tmp_path / "train/two.jpeg", picture(16, 32, 3)).rename(tmp_path / "train/two.JFIF")
    (tmp_path / "train/notes.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    as_strips(tmp_path / "elsewhere", {"linked": picture(2, 16, 16, 3)})
    (tmp_path / "train/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/loop").symlink_to(tmp_path / "train")
    names = [pair["name"] for pair in PairedFolder("train", tmp_path, 16)]
    assert names == ["000", "deep/001", "link/linked", "one", "two"]
    assert f"{tmp_path}/train: left out 1 .txt, 5 hidden\n" in capsys.readouterr().out


def sides_of(root: Path, split: str) -> set[tuple[str, str]]:
    data = PairedFolder(split, root, 16)
    return {(files.source.name, files.target.name) for files in data._files}


def test_a_table_keeps_pairs_of_one_source_or_target_in_one_split(tmp_path, capsys):
    rows = []
    for i in range(40):
        save(tmp_path / f"data/s/{i}.png", picture(16, 16, 3, seed=i))
        for k in range(3):
            save(tmp_path / f"data/t/{i}_{k}.png", picture(16, 16, 3, seed=100 + 3 * i + k))
            rows.append((f"s/{i}.png", f"t/{i}_{k}.png", f"{i}/{k}"))
    rows.append(("s/0.png", "t/1_0.png", "chain"))
    as_table(tmp_path / "data/pairs.csv", rows, "source,target,name")
    sources = {split: {s for s, _ in sides_of(tmp_path / "data", split)} for split in SPLITS}
    assert sum(map(len, sources.values())) == 40
    group = {"0.png": "s/0", "1.png": "s/0"}
    for split, names in sources.items():
        assert names == {
            f"{i}.png" for i in range(40) if hashed(group.get(f"{i}.png", f"s/{i}")) == split
        }
    data = PairedFolder("train", tmp_path / "data", 16)
    assert set(data.groups) == {group.get(name, f"s/{name[:-4]}") for name in sources["train"]}
    assert "two splits" not in capsys.readouterr().out


def test_a_split_stays_when_its_folder_moves(tmp_path):
    before = None
    for folder in ("one/deep", "two"):
        rows = []
        for i in range(30):
            files = [tmp_path / folder / f"{side}/{i}.png" for side in ("s", "t")]
            rows.append([save(path, picture(16, 16, 3, seed=i)) for path in files])
        table = as_table(tmp_path / "lists" / f"{folder.replace('/', '_')}.csv", rows)
        found = {split: sides_of(table, split) for split in SPLITS}
        assert before in (None, found)
        before = found


def test_files_that_a_table_puts_into_two_splits_are_told(tmp_path, capsys):
    for name in "abc":
        save(tmp_path / f"{name}.png", picture(16, 16, 3))
    rows = [("a.png", "b.png", "train"), ("a.png", "c.png", "val"), ("c.png", "b.png", "test")]
    as_table(tmp_path / "pairs.csv", rows, "source,target,split")
    PairedFolder("train", tmp_path, 16)
    assert "1 validation, 1 test; 3 files stand in two splits" in capsys.readouterr().out


def test_letters_that_unicode_writes_in_two_ways_are_one_name(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "ü") for form in ("NFC", "NFD"))
    for split in ("train", "val"):
        save(tmp_path / split / f"source/{nfc}.png", picture(16, 16, 3))
        save(tmp_path / split / f"target/{nfd}.png", picture(16, 16, 3))
    assert [pair["name"] for pair in PairedFolder("train", tmp_path, 16)] == [nfc]
    rows = [(f"train/source/{nfd}.png", f"train/target/{nfc}.png", split) for split in SPLITS]
    table = as_table(tmp_path / "pairs.csv", rows, "source,target,split")
    assert len(PairedFolder("train", table, 16)) == 1
    table.unlink()
    save(tmp_path / f"train/source/{nfd}.jpg", picture(16, 16, 3))
    with pytest.raises(UserError, match="have one name"):
        PairedFolder("train", tmp_path, 16)


@pytest.mark.parametrize("name", ["caf\udce9", "a$b=(c,d) ~e's", "{x}: [y]"])
def test_odd_names_are_read(tmp_path, name):
    pairs = {f"{name}/{i}": picture(2, 16, 16, 3, seed=i) for i in range(90)}
    as_folders(tmp_path / "source", tmp_path / "target", pairs)
    found = [pair["name"] for split in SPLITS for pair in PairedFolder(split, tmp_path, 16)]
    assert sorted(found) == sorted(pairs)


def test_maps_of_labels_keep_their_colours(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    labels = colours[np.random.default_rng(0).integers(0, 3, (40, 52))]
    photo = picture(40, 52, 3)
    for split in ("train", "val"):
        save(tmp_path / split / "source/a.png", labels)
        save(tmp_path / split / "target/a.png", photo)

    def num_colours(pair, key):
        return len(to_uint8(pair[key]).flatten(1).unique(dim=1).T)

    for fit in ("crop", "squash"):
        mixed, both, neither = (
            PairedFolder("train", tmp_path, 32, fit=fit, interpolation=choice)[0]
            for choice in (["nearest", "bicubic"], "nearest", "bicubic")
        )
        assert num_colours(neither, "x_T") > 46
        assert num_colours(mixed, "x_T") == num_colours(both, "x_T") == 3
        assert torch.equal(mixed["x_0"], neither["x_0"])
        assert not torch.equal(both["x_0"], neither["x_0"])


@pytest.mark.parametrize("high", [4095, 9000])
def test_sources_and_targets_of_many_bits_have_one_range_each(tmp_path, capsys, high):
    for split, depth in (("train", high), ("val", high / 3), ("test", 0)):
        for side, value in (("source", depth), ("target", 20)):
            pixels = np.full((16, 16), value).astype(np.uint16)
            save(tmp_path / split / side / "a.png", pixels)
    levels = {}
    for split in SPLITS:
        (pair,) = PairedFolder(split, tmp_path, 16)
        levels[split] = to_uint8(pair["x_T"]).unique().tolist()
        assert to_uint8(pair["x_0"]).unique().tolist() == [20]
    assert levels == {"train": [255], "validation": [85], "test": [0]}
    assert f"dataset.range=[0,{high}]" in capsys.readouterr().out
    settled = PairedFolder("train", tmp_path, 16).settled
    assert settled == {"range": [[0, high], [0, 255]]}
    save(tmp_path / "val/source/a.png", np.full((16, 16), 2 * high).astype(np.uint16))
    assert PairedFolder("train", tmp_path, 16).settled == {"range": [[0, 2 * high], [0, 255]]}
    (pair,) = PairedFolder("train", tmp_path, 16, **settled)
    assert to_uint8(pair["x_T"]).unique().tolist() == [255]
    assert "1 files have values outside" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"dataset\.range="):
        PairedFolder("train", tmp_path, 16, range=["auto", "auto", "auto"])
    (pair,) = PairedFolder("train", tmp_path, 16, range=["16bit", "auto"])
    assert to_uint8(pair["x_T"]).unique().tolist() == [high >> 8]


def test_a_pair_says_which_files_it_is_made_of(tmp_path):
    for split in ("train", "val"):
        as_folders(tmp_path / split / "source", tmp_path / split / "target", some_pairs(2))
    names = [tmp_path / "train" / path for path in ("source/000.png", "target/000.bmp")]
    names += [tmp_path / "train" / path for path in ("source/deep/001.png", "target/deep/001.bmp")]
    assert PairedFolder("train", tmp_path, 16).files == sorted(names)


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


def test_columns_that_are_not_used_are_told(tmp_path, capsys):
    rows = [["a.png", "a.png", "test"], ["b.png", "b.png", "train"]]
    for name in "ab":
        save(tmp_path / f"{name}.png", picture(16, 16, 3))
    as_table(tmp_path / "pairs.csv", rows, "source,target,set")
    PairedFolder("train", tmp_path, 16, layout="csv")
    assert "pairs.csv: columns that are not used: set" in capsys.readouterr().out


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


def test_links_to_one_file_stay_in_one_split(tmp_path):
    for i in range(90):
        save(tmp_path / f"elsewhere/{i // 3}.png", picture(16, 16, 3, seed=i // 3))
        save(tmp_path / f"data/target/{i:02}.png", picture(16, 16, 3, seed=i))
        (tmp_path / "data/source").mkdir(exist_ok=True)
        (tmp_path / f"data/source/{i:02}.png").symlink_to(tmp_path / f"elsewhere/{i // 3}.png")
    for split in SPLITS:
        data = PairedFolder(split, tmp_path / "data", 16)
        assert data.groups == [f"{int(pair['name']) // 3 * 3:02}" for pair in data]
        assert {hashed(group) for group in data.groups} == {split}


def test_links_in_a_table_are_named_by_where_they_stand(tmp_path):
    rows = []
    for i in range(60):
        save(tmp_path / f"elsewhere/x{i}.png", picture(16, 16, 3, seed=i))
        save(tmp_path / f"data/t/{i}.png", picture(16, 16, 3, seed=i))
        (tmp_path / "data/s").mkdir(exist_ok=True)
        (tmp_path / f"data/s/{i}.png").symlink_to(tmp_path / f"elsewhere/x{i}.png")
        rows.append((f"s/{i}.png", f"t/{i}.png"))
    as_table(tmp_path / "data/pairs.csv", rows)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for root in ("data", "link"):
        for split, pairs in all_of(tmp_path / root).items():
            assert {hashed(pair["name"]) for pair in pairs} == {split}


def test_files_in_two_splits_are_told_however_a_table_spells_them(tmp_path, capsys):
    for name in "abcd":
        save(tmp_path / f"{name}.png", picture(16, 16, 3))
    (tmp_path / "link.png").symlink_to("b.png")
    rows = [("a.png", "b.png", "train"), (tmp_path / "a.png", "link.png", "val")]
    as_table(tmp_path / "pairs.csv", rows, "source,target,split")
    PairedFolder("train", tmp_path, 16)
    assert "2 files stand in two splits" in capsys.readouterr().out


def test_a_table_may_write_some_letters_in_another_way_than_the_disk(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "ü") for form in ("NFC", "NFD"))
    root = tmp_path / nfc
    rows = []
    for i, split in enumerate(SPLITS):
        save(root / nfd / f"{nfc}{i}.png", picture(16, 16, 3, seed=i))
        rows.append((f"{nfc}/{nfd}{i}.png", f"{nfc}/{nfd}{i}.png", split))
    as_table(root / "pairs.csv", rows, "source,target,split")
    assert [len(data) for data in all_of(root).values()] == [1, 1, 1]


def test_linked_folders_are_followed_whatever_comes_first_but_not_back(tmp_path):
    as_strips(tmp_path / "root/train/b", {"strip": picture(2, 16, 16, 3)})
    as_strips(tmp_path / "root/val", some_pairs(1))
    for name in ("a", "c"):
        (tmp_path / "root/train" / name).symlink_to("b")
    (tmp_path / "root/train/b/loop").symlink_to(tmp_path / "root/train")
    (tmp_path / "root/train/above").symlink_to(tmp_path)
    data = PairedFolder("train", tmp_path / "root", 16, layout="strips")
    assert [pair["name"] for pair in data] == ["a/strip", "b/strip", "c/strip"]


def test_images_outside_of_the_folders_of_pairs_are_told(tmp_path, capsys):
    for split in ("train", "val"):
        as_folders(tmp_path / split / "source", tmp_path / split / "target", some_pairs(2))
    as_strips(tmp_path / "train/more", some_pairs(3))
    (tmp_path / "val/link").symlink_to(tmp_path / "val/source")
    PairedFolder("train", tmp_path, 16)
    assert "*/target, 3 images in other folders left out, 2 train" in capsys.readouterr().out


def test_frames_are_told_before_training(tmp_path, capsys):
    frames = [Image.fromarray(picture(16, 32, 3, seed=i)) for i in range(2)]
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        frames[0].save(tmp_path / split / "a.gif", save_all=True, append_images=frames[1:])
    data = PairedFolder("train", tmp_path, 16)
    assert "of .gif files with several frames, the first" in capsys.readouterr().out
    assert len(list(data)) == 1
    assert capsys.readouterr().out == ""
