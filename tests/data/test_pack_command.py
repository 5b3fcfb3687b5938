"""The command that packs: what it prints, what it refuses, what it leaves out."""

import shlex
import sys

import pytest
from picture_files import as_strips, some_pairs

from dbim_lightning.config import compose
from dbim_lightning.data import PackedPairs
from dbim_lightning.data import pack as command
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


def test_skip_broken_leaves_out_what_the_check_would_stop_at(run, tmp_path):
    (tmp_path / "strips/train/000.png").write_bytes(b"")
    (tmp_path / "strips/train/002.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"000\.png is not a readable image"):
        run(*SMALL, "dataset.layout=strips")
    told = run(*SMALL, "dataset.layout=strips", "--skip-broken")
    assert "train: 4 pairs, 2 left out" in told
    assert "000.png is not a readable image" in told
    assert "002.png is not a readable image" in told
