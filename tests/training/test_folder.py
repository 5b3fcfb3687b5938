"""A folder holds one run."""

import errno
import fcntl
import os

import pytest
import torch
from forked import forked
from omegaconf import OmegaConf

import dbim_lightning.resolvers  # noqa: F401 - run_folder
from dbim_lightning.errors import UserError
from dbim_lightning.training.folder import finished_at, locked, named, newest_whole, require_own


def checkpoint(folder, name, step):
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step}, path)
    return path


def test_a_folder_that_holds_a_run_is_refused_with_the_way_to_go_on(tmp_path):
    require_own(tmp_path / "new", None, 0)
    (tmp_path / "empty").mkdir()
    require_own(tmp_path / "empty", None, 0)
    other = checkpoint(tmp_path / "other", "last.ckpt", 5)
    checkpoint(tmp_path / "run", "step_0000003.ckpt", 3)
    for resumed in (None, other):
        with pytest.raises(UserError, match=r"run holds a run already: .*resume=.*run/checkpoints"):
            require_own(tmp_path / "run", resumed, 5)
    require_own(tmp_path / "new", other, 5)


def test_a_run_goes_on_in_its_folder_from_its_last_step_alone(tmp_path):
    early, last = (
        checkpoint(tmp_path, name, step)
        for name, step in (("step_0000003.ckpt", 3), ("last.ckpt", 5))
    )
    require_own(tmp_path, last, 5)
    require_own(tmp_path / "branch", early, 3)
    with pytest.raises(UserError, match=r"later steps than .*step_0000003\.ckpt"):
        require_own(tmp_path, early, 3)


def test_a_finished_run_says_at_which_step(tmp_path):
    assert finished_at(tmp_path) is None
    (tmp_path / "training.json").write_text('{"step": 7, "val/error": 0.1}')
    assert finished_at(tmp_path) == 7
    with pytest.raises(UserError, match="holds a run already"):
        require_own(tmp_path, None, 0)


def test_of_broken_checkpoints_the_one_before_is_taken(tmp_path, capsys):
    assert newest_whole(tmp_path) is None
    paths = [checkpoint(tmp_path, f"step_000000{step}.ckpt", step) for step in (3, 4, 5)]
    last = paths[0].with_name("last.ckpt")
    os.link(paths[2], last)
    os.utime(last, (1, 1))  # times say nothing of a copied run
    assert newest_whole(tmp_path).samefile(last)
    assert capsys.readouterr().out == ""
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])  # two names of one file
    place = paths[1].read_bytes().index(b"global_step")
    with paths[1].open("r+b") as file:  # one byte, which the archive's checksum tells
        file.seek(place)
        file.write(b"G")
    assert newest_whole(tmp_path) == paths[0]
    printed = capsys.readouterr().out
    assert printed.count("is broken") == printed.count("taking the one before") == 2
    require_own(tmp_path, paths[0], 3)
    assert named("auto", tmp_path) == named(str(tmp_path), tmp_path / "x") == paths[0]
    assert named(None, tmp_path) is named("auto", tmp_path / "new") is None
    with pytest.raises(UserError, match="new has no whole checkpoint"):
        (tmp_path / "new").mkdir()
        named(str(tmp_path / "new"), tmp_path)


def test_a_broken_last_one_is_named_whatever_is_beside_it(tmp_path, capsys):
    checkpoint(tmp_path, "last.ckpt", 5).write_bytes(b"broken")
    before = checkpoint(tmp_path, "step_0000003.ckpt", 3)
    assert newest_whole(tmp_path) == before
    assert "last.ckpt is broken" in capsys.readouterr().out


def test_the_best_one_and_copies_of_ones_own_are_not_the_last(tmp_path):
    checkpoint(tmp_path, "best.ckpt", 8)
    checkpoint(tmp_path, "mine.ckpt", 9)
    assert newest_whole(tmp_path) is None
    last = checkpoint(tmp_path, "last.ckpt", 5)
    assert newest_whole(tmp_path) == last


def test_auto_takes_the_newest_run_that_is_not_finished_or_was_gone_on_with(tmp_path):
    auto = OmegaConf.create({"a": f"${{run_folder:auto,{tmp_path}/new}}"})
    assert auto.a == f"{tmp_path}/new"
    for name, step, finished in (("a", 3, None), ("b", 3, 3), ("c", 5, 3)):
        checkpoint(tmp_path / name, f"step_000000{step}.ckpt", step)
        last = checkpoint(tmp_path / name, "last.ckpt", step)
        os.utime(last, (step, step))
        if finished:
            (tmp_path / name / "training.json").write_text(f'{{"step": {finished}}}')
    assert auto.a == f"{tmp_path}/c"
    (tmp_path / "c" / "training.json").write_text('{"step": 5}')
    assert auto.a == f"{tmp_path}/a"
    for broken in ("", "[]", "{}", '{"step": "3"}', "[" * 100_000):
        (tmp_path / "a" / "training.json").write_text(broken)
        assert auto.a == f"{tmp_path}/a"
    resumed = OmegaConf.create({"a": f"${{run_folder:{tmp_path}/b,{tmp_path}/new}}"})
    assert resumed.a == f"{tmp_path}/b"


def test_two_trainings_do_not_write_to_one_folder(tmp_path):
    def other():
        with locked(tmp_path):
            print("begun")

    (tmp_path / "run").mkdir()
    with locked(tmp_path):
        refused = forked(other, tmp_path / "run")
    assert refused.status == 1
    assert "another training writes to" in refused.text
    assert "begun" not in refused.text
    assert forked(other, tmp_path / "run").text == "begun\n"
    with pytest.raises(UserError, match="cannot write"):
        locked(tmp_path / "away").__enter__()


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with locked(tmp_path):
        pass


def test_a_folder_without_a_whole_checkpoint_is_not_to_be_gone_on_with(tmp_path):
    checkpoint(tmp_path, "last.ckpt", 5).write_bytes(b"broken")
    with pytest.raises(UserError, match=r"holds a run already: .*hydra\.run\.dir=DIR$"):
        require_own(tmp_path, None, 0)
