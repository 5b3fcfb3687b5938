"""What docs/design.md tells a reader to add works as it stands there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, TINY, run
from pages import files, write_files

from dbim_lightning.evaluation.report.plot import plot
from dbim_lightning.evaluation.report.rows import find_jobs

AROUND = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
SHORT = [*TINY, "trainer.max_steps=2", "trainer.val_check_interval=2"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    write_files("design.md", tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return tmp_path


def test_every_file_is_a_screen_at_most():
    lengths = {name: len(content.splitlines()) for name, content in files("design.md").items()}
    assert len(lengths) == 8
    assert max(lengths.values()) < 40


def test_an_objective_a_dataset_and_a_schedule(folder):
    choices = ["objective=pseudo_huber", "dataset=discs", "schedule=geometric"]
    choices += [
        "objective/times=lambda",
        "dataset.image_size=16",
        f"hydra.run.dir={folder / 'run'}",
    ]
    run("train.py", f"--config-dir={folder / 'conf'}", *choices, *SHORT)
    options = [f"runs={folder}", "nfe=2", "num_images=4", "metrics=paired"]
    told = run("evaluate.py", *options, status=1)
    assert "is no class that a file may name" in told and "trusted=[" in told
    options += ["trusted=[pseudo_huber,discs,geometric]"]
    run("evaluate.py", *options, f"hydra.run.dir={folder / 'evaluation'}")
    row = json.loads((folder / "evaluation" / "results.json").read_text())
    assert row["origin"]["dataset"]["_target_"] == "discs.Discs"
    assert row["origin"]["dataset"]["image_size"] == 16


def test_a_metric_has_its_column_in_table_and_plot(folder, trained):
    options = [f"runs={trained.parent}", "num_images=4"]
    sweep = ["-m", "nfe=2,3", "metrics=sharp", f"hydra.sweep.dir={folder / 'sweep'}"]
    run("evaluate.py", f"--config-dir={folder / 'conf'}", *sweep, *options)
    table = (folder / "sweep" / "summary.md").read_text()
    assert "| MSE ↓ | PSNR, dB ↑ | SSIM ↑ | sharpness ↑ | of targets ↑ |" in table
    jobs = find_jobs(folder / "sweep")
    titles = [axes.get_title() for axes in plot(list(jobs.values())).axes]
    assert titles == ["MSE ↓", "SSIM ↑", "sharpness ↑"]
    one_line = ["+metrics.measured.sharpness._target_=sharpness.Sharpness", "metrics=paired"]
    run("evaluate.py", *one_line, *options, "nfe=3", f"hydra.run.dir={folder / 'run'}")
    row = json.loads((folder / "run" / "results.json").read_text())
    (expected,) = [job.numbers["sharpness"] for job in jobs.values() if job.nfe == 3]
    assert row["metrics"]["sharpness"] == expected
    arrays = np.load(folder / "run" / "images.npz")
    by_hand = [
        np.abs(sum(x[:, 1 + i : 31 + i, 1 + j : 31 + j] - x[:, 1:31, 1:31] for i, j in AROUND))
        for x in arrays["sample"].astype(float)
    ]
    assert expected == pytest.approx(np.mean(by_hand), rel=1e-5)
