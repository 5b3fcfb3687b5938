"""evaluate.py as a person types it: newest run, sweeps, given samples, kill and go on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest
import torch
from commands import ROOT, run
from result_rows import cells

from dbim_lightning.bridge import best_precision


def test_evaluation_takes_newest_finished_run(trained, runs):
    (trained.parent / "unfinished" / "checkpoints").mkdir(parents=True)
    out = runs / "evaluation"
    printed = run(
        "evaluate.py", f"runs={trained.parent}", "nfe=3", "num_images=4", f"hydra.run.dir={out}"
    )
    assert str(trained / "checkpoints" / "last.ckpt") in printed
    row = json.loads((out / "results.json").read_text())
    assert row["nfe"] == row["cost"]["nfe_counted"] == 3
    assert row["num_images"] == 4
    sampler = row["sampler"]
    assert sampler["_target_"] == "dbim_lightning.samplers.dbim.DBIM"
    assert (sampler["eta"], sampler["order"]) == (0.0, 1)
    assert sampler["grid"] == {"_target_": "dbim_lightning.samplers.grids.Uniform", "start": None}
    for metric in ("mse", "psnr", "ssim", "kid_lite0", "fd_lite0"):
        assert isinstance(row["metrics"][metric], float)
        assert metric in row["baselines"]["source"]
        assert row["columns"][metric]["better"] in ("↓", "↑")
    assert row["baselines"]["training targets"].keys() == {"kid_lite0", "fd_lite0"}
    assert (out / "images.png").stat().st_size > 1000


def test_sweep_skips_what_cannot_be_and_ends_with_one_summary(trained, runs):
    out = runs / "sweep"
    options = ["num_images=3", "metrics=paired", f"hydra.sweep.dir={out}"]
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    jobs = ["sampler=dbim,ddbm", "sampler.eta=0,1", "nfe=1,2,5"]
    printed = run("evaluate.py", "-m", *jobs, checkpoint, *options)
    assert printed.count("skipped: nfe=1") == 4
    assert printed.count("skipped: done before, in ") == 2
    assert len(list(out.glob("*/results.json"))) == 6
    assert (out / "summary.md").read_text() in printed
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [(r["sampler._target_"], r["sampler.eta"], int(r["nfe"])) for r in rows]
    found = [(target.rpartition(".")[2], eta, nfe) for target, eta, nfe in found]
    assert found[:4] == [("DBIM", "0", 2), ("DBIM", "0", 5), ("DBIM", "1", 2), ("DBIM", "1", 5)]
    assert found[4:] == [("DDBM", "", 2), ("DDBM", "", 5)]
    assert len({r["metrics.mse"] for r in rows}) == 6
    for name in ("summary.png", "summary_cost.png", "images.png"):
        assert (out / name).stat().st_size > 1000
    results = {path: path.stat().st_mtime_ns for path in out.glob("*/results.json")}
    again = run("evaluate.py", "-m", *jobs, checkpoint, *options)
    assert again.count("skipped: done before, in ") == 2
    assert all(path.stat().st_mtime_ns > before for path, before in results.items())


STRICT = """from dataclasses import dataclass

from dbim_lightning.samplers import DBIM


@dataclass(frozen=True)
class Strict(DBIM):
    is_strict: bool = False
    kid_size: int = 1
"""


def test_a_samplers_option_that_is_called_like_a_metric_tells_jobs_apart(
    trained, tmp_path, monkeypatch
):
    (tmp_path / "strict.py").write_text(STRICT)
    (tmp_path / "conf" / "sampler").mkdir(parents=True)
    (tmp_path / "conf" / "sampler" / "strict.yaml").write_text("_target_: strict.Strict\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    jobs = ["sampler=strict", "+sampler.is_strict=true,false", "+sampler.kid_size=1,2", "nfe=2"]
    options = [checkpoint, "num_images=2", "metrics=paired", f"hydra.sweep.dir={tmp_path / 'out'}"]
    run("evaluate.py", f"--config-dir={tmp_path / 'conf'}", "-m", *jobs, *options)
    header, _, *body = cells((tmp_path / "out" / "summary.md").read_text())
    assert header[:3] == ["is_strict", "kid_size", "NFE"]
    told_apart = [line[:2] for line in body if line[0] != "source"]
    assert told_apart == [["False", "1"], ["False", "2"], ["True", "1"], ["True", "2"]]


def test_jobs_that_differ_in_cost_alone_are_both_done(trained, tmp_path):
    options = [f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "num_images=3", "nfe=2"]
    options += ["metrics=none", f"hydra.sweep.dir={tmp_path}"]
    run("evaluate.py", "-m", "batch_size=2,3,3", *options)
    header, _, *body = cells((tmp_path / "summary.md").read_text())
    assert header == ["batch_size", "NFE", "s / image ↓"]
    assert [line[0] for line in body] == ["2", "3"]


def test_a_row_of_an_earlier_version_in_the_folder_of_a_sweep_ends_it(trained, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text('{"sampler": "dbim", "nfe": 5, "mse": 0.1}')
    options = [f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "num_images=2"]
    options += ["metrics=none", "nfe=2,3", f"hydra.sweep.dir={tmp_path}"]
    printed = run("evaluate.py", "-m", *options, status=1)
    assert printed.count("error: ") == 1
    assert "results.json is no result row of format 2" in printed
    assert "Traceback" not in printed


def test_wandb_gets_a_job_as_a_run_and_a_sweep_as_a_table(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "num_images=2"]
    options += ["metrics=paired", "wandb=true"]
    run("evaluate.py", *options, "nfe=2", f"hydra.run.dir={tmp_path / 'run'}")
    run("evaluate.py", "-m", *options, "nfe=2,3", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    row = json.loads((tmp_path / "run" / "results.json").read_text())
    (job,) = tmp_path.glob("run/wandb/offline-run-*/*.wandb")
    records = job.read_bytes()
    assert b"eval/mse" in records
    assert str(row["metrics"]["mse"]).encode() in records
    assert trained.name.encode() in records  # the group
    (sweep,) = tmp_path.glob("sweep/wandb/offline-run-*")
    tables = [json.loads(path.read_text()) for path in sweep.rglob("*.table.json")]
    (table,) = [table for table in tables if "metrics.mse" in table["columns"]]
    assert [line[table["columns"].index("nfe")] for line in table["data"]] == [2, 3]
    pictures = {path.name.rpartition("_")[0] for path in sweep.rglob("media/images/*.png")}
    assert {name.partition("_0")[0] for name in pictures} >= {"images", "summary", "summary_cost"}


def test_nfe_that_a_sampler_cannot_meet_is_said_in_log_and_row(trained, runs):
    out = runs / "ddbm"
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    options = [checkpoint, "num_images=2", "metrics=paired", f"hydra.run.dir={out}"]
    printed = run("evaluate.py", "sampler=ddbm", "nfe=7", *options)
    assert printed.count("nfe=7: ") == 1
    row = json.loads((out / "results.json").read_text())
    assert (row["nfe"], row["cost"]["nfe_counted"]) == (7, 8)
    assert row["sampler"]["churn_step_ratio"] == 0.33
    assert row["sampler"]["grid"]["rho"] == 7.0
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
    assert rows[0]["metrics"] == rows[1]["metrics"]


def test_a_row_says_where_it_comes_from(trained, tmp_path):
    last = trained / "checkpoints" / "last.ckpt"
    out = f"hydra.run.dir={tmp_path}"
    run("evaluate.py", f"checkpoint={last}", "nfe=2", "num_images=2", "metrics=paired", out)
    row = json.loads((tmp_path / "results.json").read_text())
    assert (row["protocol"]["name"], row["protocol"]["split"], row["seed"]) == ("paired", "test", 0)
    origin = row["origin"]
    assert origin["checkpoint_sha256"] == sha256(last.read_bytes()).hexdigest()[:16]
    assert origin["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert origin["dataset"]["image_size"] == 32
    assert origin["precision"] == best_precision(torch.device(origin["device"].split(",")[0]))
    assert row["cost"]["seconds"] > 0
    assert 0.1 < row["cost"]["peak_memory_gb"] < 10


def test_written_images_are_judged_as_the_samples_they_are(trained, tmp_path):
    last = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    options = ["metrics=paired", "nfe=2", "num_images=5"]
    run("evaluate.py", last, *options, "save_images=png", f"hydra.run.dir={tmp_path / 'a'}")
    assert len(list((tmp_path / "a" / "samples").rglob("*.png"))) == 5
    given = [f"samples={tmp_path / 'a' / 'samples'}", "dataset=openmoji"]
    run("evaluate.py", *given, *options, f"hydra.run.dir={tmp_path / 'b'}")
    rows = [json.loads((tmp_path / name / "results.json").read_text()) for name in "ab"]
    for name in ("metrics", "baselines", "num_images"):
        assert rows[0][name] == rows[1][name]
    assert rows[1]["sampler"] == str(tmp_path / "a" / "samples")
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
    for name in ("metrics", "baselines"):
        assert rows[0][name] == rows[1][name]
    assert rows[0]["cost"]["nfe_counted"] == rows[1]["cost"]["nfe_counted"] == 5
