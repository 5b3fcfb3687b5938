"""evaluate.py as a person types it: newest run, sweeps, given samples, kill and go on."""

import csv
import json
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest
import torch
from commands import ROOT, run


def test_evaluation_takes_newest_finished_run(trained, runs):
    (trained.parent / "unfinished" / "checkpoints").mkdir(parents=True)
    out = runs / "evaluation"
    printed = run(
        "evaluate.py", f"runs={trained.parent}", "nfe=3", "num_images=4", f"hydra.run.dir={out}"
    )
    assert str(trained / "checkpoints" / "last.ckpt") in printed
    row = json.loads((out / "results.json").read_text())
    assert row["nfe"] == row["nfe_counted"] == 3
    assert row["num_images"] == 4
    assert (row["sampler"], row["order"], row["grid"]) == ("dbim", 1, "uniform")
    for metric in ("mse", "psnr", "ssim", "kid_lite0", "fd_lite0"):
        assert isinstance(row[metric], float)
        assert metric in row["references"]["source"]
    assert row["references"]["train_targets"].keys() == {"kid_lite0", "fd_lite0"}
    assert (out / "images.png").stat().st_size > 1000


def test_sweep_skips_what_cannot_be_and_ends_with_one_summary(trained, runs):
    out = runs / "sweep"
    options = ["num_images=3", "metrics=paired", f"hydra.sweep.dir={out}"]
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    jobs = ["sampler=dbim,ddbm", "sampler.eta=0,1,2", "nfe=2,5"]
    printed = run("evaluate.py", "-m", *jobs, checkpoint, *options)
    assert printed.count("skipped: eta=2") == 2
    assert printed.count("skipped: done before, as ddbm has not all") == 4
    assert len(list(out.glob("*/results.json"))) == 6
    assert (out / "summary.md").read_text() in printed
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [(r["sampler"], r["eta"], int(r["nfe"])) for r in rows]
    assert found[:4] == [("dbim", "0", 2), ("dbim", "0", 5), ("dbim", "1", 2), ("dbim", "1", 5)]
    assert found[4:] == [("ddbm", "", 2), ("ddbm", "", 5)]
    assert len({r["mse"] for r in rows}) == 6
    for name in ("summary.png", "images.png"):
        assert (out / name).stat().st_size > 1000


def test_nfe_that_a_sampler_cannot_meet_is_said_in_log_and_row(trained, runs):
    out = runs / "ddbm"
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    options = [checkpoint, "num_images=2", "metrics=paired", f"hydra.run.dir={out}"]
    printed = run("evaluate.py", "sampler=ddbm", "nfe=7", *options)
    assert printed.count("nfe=7: ") == 1
    row = json.loads((out / "results.json").read_text())
    assert (row["sampler"], row["nfe"], row["nfe_counted"]) == ("ddbm", 7, 8)
    assert (row["churn_step_ratio"], row["grid"]) == (0.33, "karras rho=7.0")
    assert "NFE counted" in printed


def test_weights_file_evaluates_like_its_checkpoint(trained, tmp_path):
    last, file = trained / "checkpoints" / "last.ckpt", tmp_path / "ours.safetensors"
    run("-m", "dbim_lightning.weights", "export", str(last), "-o", str(file))
    rows = []
    for source in (f"checkpoint={last}", f"weights={file}"):
        out = tmp_path / source.partition("=")[0]
        options = ["nfe=2", "num_images=2", "metrics=paired", f"hydra.run.dir={out}"]
        run("evaluate.py", source, *options)
        rows.append(json.loads((out / "results.json").read_text()))
    assert rows[0]["mse"] == rows[1]["mse"]


def test_a_row_says_where_it_comes_from(trained, tmp_path):
    last = trained / "checkpoints" / "last.ckpt"
    out = f"hydra.run.dir={tmp_path}"
    run("evaluate.py", f"checkpoint={last}", "nfe=2", "num_images=2", "metrics=paired", out)
    row = json.loads((tmp_path / "results.json").read_text())
    assert (row["metrics"], row["split"], row["seed"]) == ("paired", "test", 0)
    assert row["checkpoint_sha256"] == sha256(last.read_bytes()).hexdigest()[:16]
    assert row["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert row["seconds"] > 0
    assert 0.1 < row["peak_memory_gb"] < 10


def test_written_images_are_judged_as_the_samples_they_are(trained, tmp_path):
    last = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    options = ["metrics=paired", "nfe=2", "num_images=5"]
    run("evaluate.py", last, *options, "save_images=png", f"hydra.run.dir={tmp_path / 'a'}")
    assert len(list((tmp_path / "a" / "samples").rglob("*.png"))) == 5
    given = [f"samples={tmp_path / 'a' / 'samples'}", "dataset=openmoji"]
    run("evaluate.py", *given, *options, f"hydra.run.dir={tmp_path / 'b'}")
    rows = [json.loads((tmp_path / name / "results.json").read_text()) for name in "ab"]
    for name in ("mse", "psnr", "ssim", "references", "num_images"):
        assert rows[0][name] == rows[1][name]
    assert (tmp_path / "b" / "images.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_numbers(trained, tmp_path):
    options = [f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "metrics=paired", "nfe=5"]
    options += ["num_images=130", "keep_samples=true"]

    def start(folder):
        command = [sys.executable, "evaluate.py", *options, f"folder={tmp_path / folder}"]
        return [*command, f"hydra.run.dir={tmp_path / folder / 'run'}"]

    process = subprocess.Popen(start("killed"), cwd=ROOT)
    while not (shards := sorted((tmp_path / "killed").glob("samples/*/*.npz"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "run" / "results.json").exists()
    written = [path.stat().st_mtime_ns for path in shards]
    rows = []
    for folder in ("killed", "whole"):
        run(*start(folder)[1:])
        rows.append(json.loads((tmp_path / folder / "run" / "results.json").read_text()))
    assert [path.stat().st_mtime_ns for path in shards] == written
    for name in ("mse", "psnr", "ssim", "nfe_counted", "references"):
        assert rows[0][name] == rows[1][name]
