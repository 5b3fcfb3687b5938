"""Tuning on validation images, and the sampler files that it writes."""

import json
from dataclasses import replace

import pytest
from commands import run
from omegaconf import OmegaConf

from dbim_lightning.composing import compose
from dbim_lightning.config import make_sampler
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.tune import FAST, Tuning, sampler_of, tuned
from dbim_lightning.sampler_files import take_sampler_files

TUNE = ("-m", "dbim_lightning.evaluation.tune")
FEW = ("num_images=8", "metrics=paired", "--metric", "mse", "nfe=2")


@pytest.fixture(scope="module")
def tuning(trained, tmp_path_factory):
    """A folder of two trials, what was printed, and the words that made it."""
    folder = tmp_path_factory.mktemp("tuning")
    checkpoint = f"checkpoint={trained}/checkpoints/last.ckpt"
    words = [*TUNE, checkpoint, *FEW, f"folder={folder}/references", "-o", str(folder)]
    return folder, run(*words, "--trials", "2"), words


def test_trials_that_are_done_are_not_done_again(tuning):
    folder, printed, words = tuning
    assert "NFE 2, trial 2 of 2" in printed
    compared = [line for line in printed.splitlines() if ": DBIM(" in line]
    assert sum("grid=Uniform(start=None)" in line for line in compared) == 2  # as published
    assert len(compared) == 4
    written = (folder / "dbim_nfe2.yaml").read_text()
    again = run(*words, "--trials", "2")
    assert "trial" not in again and "seed" not in again
    assert (folder / "dbim_nfe2.yaml").read_text() == written
    more = run(*words, "--trials", "3")
    assert "trial 3 of 3" in more and "trial 2 of" not in more


def test_another_number_of_images_is_another_tuning(tuning):
    printed = run(*tuning[2], "num_images=9", "--trials", "2", status=1)
    assert "trials with another num_images: give another -o DIR" in printed


def test_the_first_trial_is_dbim_fast():
    cfg = compose("evaluate", ["sampler=dbim_fast"])
    fast = make_sampler(cfg.sampler, 10)
    assert sampler_of(FAST, 10) == replace(fast, omega="exponential")


def test_the_reason_why_no_trial_could_be_judged_is_said(tmp_path, monkeypatch):
    def refuse(self, sampler, seed, title):
        raise UserError("two times fall on one index")

    monkeypatch.setattr(Tuning, "score", refuse)
    with pytest.raises(UserError, match=r"at NFE 5 .*: two times fall on one index"):
        tuned(Tuning(None, None, "mse", 1, {}), 5, 2, tmp_path)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("metrics.split=test", "on validation images alone"),
        ("nfe=1", "nfe=1: give whole numbers from 2"),
        ("--trials=0", "--trials 0: use 1 or more"),
        ("--metric=kid", "--metric kid: choose one of mse"),
    ],
)
def test_bad_words_are_refused_by_name(trained, tmp_path, word, message):
    words = [*TUNE, f"checkpoint={trained}/checkpoints/last.ckpt", *FEW, "-o", str(tmp_path / "t")]
    assert message in run(*words, word, status=1)
    assert not (tmp_path / "t").exists()


def test_a_file_is_a_sampler_of_evaluate_and_train(tuning, trained, tmp_path):
    file = tuning[0] / "dbim_nfe2.yaml"
    words = [f"checkpoint={trained}/checkpoints/last.ckpt", "num_images=4", "metrics=paired"]
    run("evaluate.py", f"sampler={file}", "nfe=2", *words, f"hydra.run.dir={tmp_path}/a")
    row = json.loads((tmp_path / "a" / "results.json").read_text())
    own = OmegaConf.to_container(OmegaConf.load(file))
    assert own.pop("tuned")["nfe"] == 2
    assert row["sampler"] == own
    printed = run("train.py", f"sampler={file}", "--cfg", "job")
    assert f"sampler:\n  _target_: {own['_target_']}" in printed and "tuned:" in printed


def test_a_sweep_over_a_file_and_a_name(tuning, trained, tmp_path):
    file = tuning[0] / "dbim_nfe2.yaml"
    words = [f"checkpoint={trained}/checkpoints/last.ckpt", "num_images=4", "metrics=paired"]
    sweep = ["-m", *words, f"sampler=ecsi,{file}", "nfe=3", f"hydra.sweep.dir={tmp_path}"]
    run("evaluate.py", *sweep)
    assert len(list(tmp_path.rglob("results.json"))) == 2


def test_a_file_of_another_schedule_is_refused(tuning, trained, tmp_path):
    file = tmp_path / "other.yaml"
    text = (tuning[0] / "dbim_nfe2.yaml").read_text()
    assert "beta_d: 2.0" in text
    file.write_text(text.replace("beta_d: 2.0", "beta_d: 3.0"))
    words = [f"checkpoint={trained}/checkpoints/last.ckpt", "num_images=4", "metrics=paired"]
    printed = run("evaluate.py", f"sampler={file}", "nfe=2", *words, status=1)
    assert "was tuned for the schedule" in printed and "beta_d': 3.0" in printed


def test_a_sweep_takes_files_beside_names(tmp_path):
    (tmp_path / "my own.yaml").write_text("_target_: dbim_lightning.samplers.DDBM\n")
    typed = ["a=1", "-m", f"sampler=dbim,'{tmp_path}/my own.yaml'", "b=2"]
    *words, path, sampler, last = take_sampler_files(typed)
    assert [*words, sampler, last] == ["a=1", "-m", "sampler=dbim,my_own", "b=2"]
    assert path.startswith("hydra.searchpath=[file://")
    assert take_sampler_files(["sampler=dbim", "nfe=5"]) == ["sampler=dbim", "nfe=5"]


def test_files_that_are_not_there_or_hide_a_choice_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        take_sampler_files([f"sampler={tmp_path}/none.yaml"])
    (tmp_path / "dbim.yaml").write_text("_target_: dbim_lightning.samplers.DDBM\n")
    with pytest.raises(UserError, match="rename the file"):
        take_sampler_files([f"sampler={tmp_path}/dbim.yaml"])
