import json
import os
from hashlib import sha256

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.data import PackedPairs, Pair
from dbim_lightning.data.fingerprint import fingerprint
from dbim_lightning.data.packed import CHUNK, pack
from dbim_lightning.errors import UserError


class Pictures(Dataset):
    """Random 8-bit pairs; the images in `broken` cannot be read."""

    def __init__(self, count=20, size=6, masked=False, labelled=False, broken=()):
        self.count, self.size, self.broken = count, size, broken
        self.masked, self.labelled = masked, labelled

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Pair:
        if index in self.broken:
            raise UserError(f"{index}.png is not readable")
        random = np.random.default_rng(index)
        levels = torch.from_numpy(random.integers(0, 256, (2, 3, self.size, self.size)))
        x_0, x_T = levels.float() / 127.5 - 1
        pair = Pair(x_0=x_0, x_T=x_T, index=index, name=f"{index}")
        if self.masked:
            pair["mask"] = torch.from_numpy(
                random.integers(0, 2, (1, self.size, self.size))
            ).float()
            pair["x_T"] = x_T.masked_fill(pair["mask"].bool(), 0.0)
        return pair | ({"label": index % 3} if self.labelled else {})


def assert_equal(packed: Dataset, pairs: Dataset) -> None:
    assert len(packed) == len(pairs)
    for i in range(len(pairs)):
        assert packed[i].keys() == pairs[i].keys()
        for key, value in pairs[i].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(packed[i][key], value)
                assert packed[i][key].dtype == value.dtype
            else:
                assert packed[i][key] == value


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("kind", [{}, {"masked": True}, {"labelled": True, "masked": True}])
def test_packed_pairs_are_the_same_pairs(tmp_path, size, kind):
    data = Pictures(size=size, **kind)
    pack(data, tmp_path / "train")
    assert_equal(PackedPairs("train", tmp_path), data)


def test_workers_write_and_read_the_same(tmp_path):
    data = Pictures(2 * CHUNK + 5)
    pack(data, tmp_path / "train", workers=2)
    packed = PackedPairs("train", tmp_path)
    assert_equal(packed, data)
    loader = DataLoader(packed, 7, num_workers=1, multiprocessing_context="spawn")
    batches = list(loader)
    assert torch.equal(
        torch.cat([b["x_0"] for b in batches]),
        torch.stack([data[i]["x_0"] for i in range(len(data))]),
    )


def test_an_interrupted_packing_goes_on(tmp_path):
    data = Pictures(2 * CHUNK + 9, masked=True)
    with pytest.raises(UserError, match=f"{CHUNK + 3}.png is not readable; or leave it out with"):
        pack(Pictures(len(data), masked=True, broken=[CHUNK + 3]), tmp_path / "train")
    assert not (tmp_path / "train").exists()
    for name in ("images.u8", "masks.u8"):
        with (tmp_path / "train.part" / name).open("ab") as file:
            file.write(b"torn")
    read = []

    class Watched(Pictures):
        def __getitem__(self, index: int) -> Pair:
            read.append(index)
            return super().__getitem__(index)

    pack(Watched(len(data), masked=True), tmp_path / "train")
    assert read == [CHUNK + 2, *range(CHUNK + 3, len(data))]
    assert_equal(PackedPairs("train", tmp_path), data)
    assert not (tmp_path / "train.part").exists()

    read.clear()
    pack(Watched(len(data), masked=True), tmp_path / "train")
    assert read == []


def test_another_data_set_does_not_go_on(tmp_path):
    with pytest.raises(UserError):
        pack(Pictures(broken=[5]), tmp_path / "train")

    class Others(Pictures):
        def __getitem__(self, index: int) -> Pair:
            return super().__getitem__(index) | {"name": f"other{index}"}

    with pytest.raises(UserError, match=r"train\.part was begun with other data: delete it"):
        pack(Others(), tmp_path / "train")


def test_broken_images_are_left_out_and_listed(tmp_path):
    contents = pack(Pictures(8, broken=[0, 3]), tmp_path / "train", skip_broken=True)
    assert contents["left_out"] == ["0.png is not readable", "3.png is not readable"]
    packed = PackedPairs("train", tmp_path)
    assert [pair["name"] for pair in packed] == ["1", "2", "4", "5", "6", "7"]
    assert [pair["index"] for pair in packed] == list(range(6))
    assert torch.equal(packed[3]["x_T"], Pictures()[5]["x_T"])


def test_what_cannot_be_packed(tmp_path):
    class Noisy(Pictures):
        def __getitem__(self, index: int) -> Pair:
            pair = super().__getitem__(index)
            return pair | {"mask": torch.ones(1, self.size, self.size)}

    with pytest.raises(UserError, match="0 has a hole of several colours"):
        pack(Noisy(), tmp_path / "noisy")
    with pytest.raises(UserError, match=r"every image is broken: 0\.png"):
        pack(Pictures(2, broken=[0, 1]), tmp_path / "none", skip_broken=True)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="make room or choose another folder"):
        pack(Pictures(), tmp_path / "file" / "train")


def test_too_little_room_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"train\.part needs 0\.0 GB, but its disk has 0\.0 GB"):
        pack(Pictures(), tmp_path / "train")


def test_a_missing_folder_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"no packed pairs in .*train: make them with COMMAND"):
        PackedPairs("train", tmp_path, "COMMAND")


def test_validation_falls_back_to_test(tmp_path):
    pack(Pictures(), tmp_path / "test")
    assert len(PackedPairs("validation", tmp_path)) == 20
    pack(Pictures(3), tmp_path / "validation")
    assert len(PackedPairs("validation", tmp_path)) == 3


@pytest.mark.parametrize("damage", ["truncated", "older"])
def test_a_folder_that_is_not_whole_is_refused(tmp_path, damage):
    pack(Pictures(), tmp_path / "test")
    if damage == "truncated":
        with (tmp_path / "test/images.u8").open("ab") as file:
            file.truncate(100)
    else:
        path = tmp_path / "test/pairs.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    with pytest.raises(UserError, match=r"images\.u8 has .* delete .* and make it again with"):
        PackedPairs("test", tmp_path)


class Files(Pictures):
    """Pairs that are read from files of their numbers."""

    def __init__(self, folder, count=20, **options):
        super().__init__(count, **options)
        folder.mkdir(exist_ok=True)
        self.files = [folder / f"{i:02}.png" for i in range(count)]
        for path in self.files:
            if not path.exists():
                path.write_bytes(b"image")


OPTIONS = {"_target_": "Files", "root": "a", "image_size": 6, "range": (0, 1)}


def packed_files(tmp_path, options=OPTIONS, **changed):
    return pack(Files(tmp_path / "files", **changed), tmp_path / "train", options=options)


def test_the_same_again_is_there_already(tmp_path, capsys):
    assert packed_files(tmp_path) == packed_files(tmp_path)
    made_from = json.loads((tmp_path / "train/made_from.json").read_text())
    assert made_from["options"] == OPTIONS | {"range": [0, 1]}
    assert made_from["pairs"] == len(made_from["files"]) == 20
    assert made_from["files"][str(tmp_path / "files/00.png")][0] == 5


def test_other_options_are_refused_by_name_and_nothing_is_touched(tmp_path):
    packed_files(tmp_path)
    before = (tmp_path / "train/images.u8").read_bytes()
    other = OPTIONS | {"image_size": 32, "fit": "squash"}
    expected = r"train was made with image_size=6, now 32, fit=None, now squash: choose another"
    with pytest.raises(UserError, match=expected):
        packed_files(tmp_path, other, size=32)
    assert (tmp_path / "train/images.u8").read_bytes() == before


def test_files_that_differ_are_refused_by_name(tmp_path):
    packed_files(tmp_path)
    (tmp_path / "files/03.png").write_bytes(b"another")
    with pytest.raises(UserError, match=r"was made before files were changed \(\S*03\.png\): "):
        packed_files(tmp_path)
    (tmp_path / "files/03.png").write_bytes(b"image")  # at another time
    with pytest.raises(UserError, match=r"changed \(\S*03\.png\)"):
        packed_files(tmp_path)
    with pytest.raises(UserError, match=r"removed \(\S*18\.png, \S*19\.png\), changed"):
        packed_files(tmp_path, count=18)
    with pytest.raises(UserError, match=r"added \(\S*20\.png, \S*, \S*22\.png and 2 more\)"):
        packed_files(tmp_path, count=25)


def test_an_interrupted_packing_does_not_go_on_with_others(tmp_path):
    with pytest.raises(UserError, match="not readable"):
        packed_files(tmp_path, broken=[5])
    mirrored = OPTIONS | {"source_side": "right"}
    with pytest.raises(UserError, match=r"train\.part was made with source_side=None, now right"):
        packed_files(tmp_path, mirrored)
    (tmp_path / "files/19.png").unlink()
    with pytest.raises(UserError, match=r"train\.part was made before files were changed"):
        packed_files(tmp_path)


def test_data_without_files_differ_by_their_number(tmp_path):
    pack(Pictures(5), tmp_path / "train")
    with pytest.raises(UserError, match=r"train was made of 5 pairs, now 6: choose another"):
        pack(Pictures(6), tmp_path / "train")


def test_what_an_earlier_version_packed_trains_and_is_not_taken_for_another(tmp_path):
    data = Files(tmp_path / "files")
    pack(data, tmp_path / "train")
    contents = json.loads((tmp_path / "train/pairs.json").read_text())
    del contents["sha256"]
    (tmp_path / "train/pairs.json").write_text(json.dumps(contents))
    (tmp_path / "train/made_from.json").unlink()
    packed = PackedPairs("train", tmp_path)
    assert_equal(packed, data)
    before = fingerprint(packed)
    os.utime(tmp_path / "train/images.u8")
    assert fingerprint(PackedPairs("train", tmp_path)) != before
    with pytest.raises(UserError, match=r"train does not say what it was made from"):
        pack(data, tmp_path / "train")


def test_the_fingerprint_of_packed_pairs_is_their_content(tmp_path):
    packs = {"a": {}, "again": {}, "masked": {"masked": True}, "fewer": {"count": 19}}
    found = {}
    for name, options in packs.items():
        pack(Pictures(**options), tmp_path / name / "train")
        found[name] = fingerprint(PackedPairs("train", tmp_path / name))
    assert found["a"] == found["again"]
    assert len(set(found.values())) == 3
    images = (tmp_path / "a/train/images.u8").read_bytes()
    assert PackedPairs("train", tmp_path / "a").content_hash == sha256(images).hexdigest()


def test_images_that_pillow_cannot_read_are_left_out_too(tmp_path):
    class Own(Pictures):
        def __getitem__(self, index: int) -> Pair:
            if index == 2:
                raise SyntaxError("broken PNG")
            return super().__getitem__(index)

    with pytest.raises(UserError, match="pair 2: broken PNG; or leave it out with --skip-broken"):
        pack(Own(4), tmp_path / "train")
    assert pack(Own(4), tmp_path / "train", skip_broken=True)["left_out"] == ["pair 2: broken PNG"]


def test_half_a_table_of_contents_is_named(tmp_path):
    pack(Pictures(), tmp_path / "train")
    path = tmp_path / "train/pairs.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r"pairs\.json is not whole .*: delete .*train and make"):
        PackedPairs("train", tmp_path)
