"""The command that packs: what it prints, what it refuses, what it leaves out."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_files import as_strips, save, some_pairs

from dbim_lightning.composing import compose
from dbim_lightning.data import PackedPairs, PairedFolder
from dbim_lightning.data import pack as command
from dbim_lightning.earlier import differences
from dbim_lightning.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words, out="packed"):
        words = ["pack", "dataset=paired_folder", "-o", str(out), "--workers", "0", *words]
        monkeypatch.setattr(sys, "argv", words)
        command.main()
        return capsys.readouterr().out

    for split in ("train", "test"):
        as_strips(tmp_path / "strips" / split, some_pairs(6, 32, 32))
    return run


SMALL = ["dataset.root=strips", "dataset.image_size=16"]


def test_another_size_or_side_is_refused_and_the_same_is_there(run):
    first = run(*SMALL)
    assert "train: 6 pairs, 0 left out" in first
    again = run(*SMALL)
    assert "Packing" not in again
    assert set(again.splitlines()) <= set(first.splitlines())
    with pytest.raises(UserError, match=r"packed/train was made with image_size=16, now 32: "):
        run("dataset.root=strips", "dataset.image_size=32")
    with pytest.raises(UserError, match=r"packed/train was made with source_side=left, now right"):
        run(*SMALL, "dataset.source_side=right")
    assert PackedPairs("train", "packed")[0]["x_0"].shape == (3, 16, 16)


def test_the_command_that_it_prints_can_be_pasted(run, tmp_path):
    out = tmp_path / "my set (1), it's"
    line = run(*SMALL, out=out).splitlines()[-1]
    told, python, script, *words = shlex.split(line)
    assert (told, python, script) == ("Train:", "python", "train.py")
    assert compose("train", words).dataset.root == str(out)


def test_packed_pairs_know_what_they_were_made_with_and_how_their_values_were_read(run, tmp_path):
    for i in range(4):
        for side, high in (("source", 9000), ("target", 1000)):
            values = np.linspace(0, high, 16 * 16, dtype=np.uint16).reshape(16, 16)
            split = "train" if i < 3 else "test"
            save(tmp_path / "deep" / split / side / f"{i}.png", values + i)
    run("dataset.root=deep", "dataset.image_size=16", out="a")
    packed = PackedPairs("train", "a", made_with={"image_size": 64})
    made_with = packed.settled["made_with"]
    assert made_with["image_size"] == 16
    assert made_with["range"] == PairedFolder("train", "deep", 16).settled["range"]
    assert made_with["range"] == [[0, 9003], [0, 1003]]
    training = {"dataset": {"root": "a", **packed.settled}}
    run("dataset.root=deep", "dataset.image_size=16", "dataset.range=[0,2000]", out="b")
    here = {"dataset": {"root": "b", **PackedPairs("train", "b").settled}}
    assert differences(here, training) == (
        "dataset.range [[0.0, 2000.0], [0.0, 2000.0]] (training: [[0.0, 9003.0], [0.0, 1003.0]])"
    )
    raw = {"dataset": made_with | {"root": "elsewhere", "source_side": "right"}}
    assert differences(raw, training) == "dataset.source_side right (training: left)"


def test_packed_pairs_that_do_not_say_what_they_are_keep_what_is_known(run):
    run(*SMALL)
    Path("packed/train/made_from.json").unlink()
    assert PackedPairs("train", "packed").settled == {}
    known = {"made_with": {"image_size": 16}}
    assert PackedPairs("train", "packed", **known).settled == known


def test_skip_broken_leaves_out_values_that_are_no_numbers(run, tmp_path):
    for i, value in enumerate((np.nan, 0.5, 1.0)):
        values = np.linspace(0, value, 16 * 16, dtype=np.float32).reshape(16, 16)
        save(tmp_path / "floats/train" / f"{i}.tif", values)
        save(tmp_path / "floats/test" / f"{i}.tif", np.nan_to_num(values))
    words = ["dataset=restoration", "dataset.root=floats", "dataset.image_size=16"]
    with pytest.raises(UserError, match=r"train/0\.tif has values that are no numbers"):
        run(*words)
    assert "train: 2 pairs, 1 left out" in run(*words, "--skip-broken")


def test_skip_broken_leaves_out_what_the_check_would_stop_at(run, tmp_path):
    (tmp_path / "strips/train/000.png").write_bytes(b"")
    (tmp_path / "strips/train/002.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"000\.png is not a readable image"):
        run(*SMALL, "dataset.layout=strips")
    told = run(*SMALL, "dataset.layout=strips", "--skip-broken")
    assert "train: 4 pairs, 2 left out" in told
    assert "000.png is not a readable image" in told
    assert "002.png is not a readable image" in told
