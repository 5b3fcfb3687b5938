"""The commands as a person types them, on a few images: train, evaluate, sweep, resume, Ctrl-C."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning
import pytest
import torch
from omegaconf import OmegaConf

import train
from dbim_lightning.training import best_precision
from dbim_lightning.weights import load_weights, read_bridge

ROOT = Path(__file__).parents[1]
TINY = [
    "training.batch_size=4",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=2",
    "checkpoint_every_n_steps=4",
    "preview.num_images=3",
    "preview.nfe=[2]",
    "data.max_images=16",
]


def run(*command, status=0):
    """Runs a script of the project; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(runs, openmoji_root):
    options = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={runs / 'first'}"]
    run("train.py", "trainer.max_steps=6", *options)
    return runs / "first"


def logged(folder, column):
    with (folder / "logs" / "metrics.csv").open() as file:
        return {int(r["step"]): float(r[column]) for r in csv.DictReader(file) if r[column]}


def test_training_leaves_checkpoints_curves_previews_and_result(trained):
    names = {path.name for path in (trained / "checkpoints").iterdir()}
    assert names == {"step_0000004.ckpt", "last.ckpt"}
    assert {p.name for p in (trained / "previews").iterdir()} == {
        "step_0000003.png",
        "step_0000006.png",
    }
    assert logged(trained, "train/loss").keys() == {1, 3, 5}
    assert logged(trained, "val/error").keys() == {2, 5}
    quartiles = [logged(trained, f"val/error_q{q}")[5] for q in (1, 2, 3, 4)]
    assert sum(quartiles) / 4 == pytest.approx(logged(trained, "val/error")[5], rel=1e-4)
    result = json.loads((trained / "training.json").read_text())
    assert result["step"] == 6
    assert result["val/error"] == pytest.approx(logged(trained, "val/error")[5], rel=1e-4)


def test_checkpoint_is_self_describing_plain_data(trained):
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    config = checkpoint["dbim_lightning_config"]
    assert config["network"]["model_channels"] == 32
    assert config["dataset"]["image_size"] == 32
    ema, raw = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert ema.keys() == raw.keys()
    assert any(not torch.equal(ema[key], raw[key]) for key in ema)


def test_metric_of_the_saved_checkpoint_is_that_of_the_training(trained):
    saved = read_bridge(trained / "checkpoints" / "last.ckpt")
    cfg = OmegaConf.create(saved.config)
    module = train.make_module(cfg)
    load_weights(module.denoiser, saved)
    trainer = lightning.Trainer(
        precision=best_precision(), logger=False, enable_checkpointing=False
    )
    (again,) = trainer.validate(module, train.instantiate(cfg.data), verbose=False)
    result = json.loads((trained / "training.json").read_text())
    for name in ("val/error", "val/loss", "val/error_q1", "val/loss_q4"):
        assert again[name] == pytest.approx(result[name], rel=1e-5)


def test_evaluation_takes_newest_finished_run(trained, runs):
    (runs / "unfinished" / "checkpoints").mkdir(parents=True, exist_ok=True)
    out = runs / "evaluation"
    printed = run("evaluate.py", f"runs={runs}", "nfe=3", "num_images=4", f"hydra.run.dir={out}")
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


def test_sweep_ends_with_one_summary(trained, runs):
    out = runs / "sweep"
    options = ["num_images=3", "metrics=paired", f"hydra.sweep.dir={out}"]
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    printed = run("evaluate.py", "-m", "sampler.eta=0,1", "nfe=2,3", checkpoint, *options)
    assert len(list(out.glob("*/results.json"))) == 4
    assert (out / "summary.md").read_text() in printed
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(float(r["eta"]), int(r["nfe"])) for r in rows] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert len({r["mse"] for r in rows}) == 4
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
    assert (row["churn_step_ratio"], row["grid"]) == (0.33, "power rho=7.0")
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


def test_training_begins_with_a_weights_file(trained, tmp_path, openmoji_root):
    last = trained / "checkpoints" / "last.ckpt"
    options = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    options += [f"weights={last}", "trainer.max_steps=1"]
    run("train.py", *options, "training.optimizer.lr=0")
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    expected = torch.load(last, weights_only=True)["state_dict"]
    for state in (saved["state_dict"], saved["current_model_state"]):
        for key, value in expected.items():
            torch.testing.assert_close(state[key], value)
    printed = run("train.py", *options, "schedule=ve", status=1)
    assert printed.count("error: ") == 1
    assert "VPSchedule" in printed


def test_notebook_runs_on_the_newest_run(trained, runs, monkeypatch):
    monkeypatch.chdir(ROOT)
    notebook = json.loads((ROOT / "notebooks" / "booting_noise.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    code = "\n".join(cells).replace("runs/train", str(runs))
    exec(code.replace("nfe=20", "nfe=2").replace("(2, 3, 5, 10, 20, 50)", "(2, 3)"), {})
    assert (trained / "sheet.png").stat().st_size > 1000


def test_resume_goes_on_where_it_stopped(trained, runs):
    last = trained / "checkpoints" / "last.ckpt"
    folder = runs / "resumed"
    run("train.py", f"resume={last}", "trainer.max_steps=8", f"hydra.run.dir={folder}")
    assert logged(folder, "train/loss").keys() == {7}
    result = json.loads((folder / "training.json").read_text())
    assert result["val/error"] == pytest.approx(logged(folder, "val/error")[8], rel=1e-4)
    before, after = (
        torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
        for run_folder in (trained, folder)
    )
    assert after["global_step"] == 8
    steps = [state["step"].item() for state in after["optimizer_states"][0]["state"].values()]
    assert set(steps) == {8}
    assert after["dbim_lightning_config"]["network"] == before["dbim_lightning_config"]["network"]


def test_ctrl_c_leaves_resumable_checkpoint_and_says_how(runs, openmoji_root):
    folder = runs / "interrupted"
    options = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, "train.py", "trainer.max_steps=100000", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "previews").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    last = folder / "checkpoints" / "last.ckpt"
    command = next(line for line in printed.splitlines() if "resume=" in line)
    assert os.path.relpath(last, ROOT) in command
    step = torch.load(last, weights_only=True)["global_step"]
    assert step >= 3
    run(
        "train.py",
        command[command.index("resume=") :],
        f"trainer.max_steps={step + 1}",
        f"hydra.run.dir={folder / 'on'}",
    )
    resumed = torch.load(folder / "on" / "checkpoints" / "last.ckpt", weights_only=True)
    assert resumed["global_step"] == step + 1


def test_help_explains_groups_and_keys():
    printed = run("train.py", "--help")
    for group in ("dataset", "network"):
        choices = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        assert f"{group}: {', '.join(choices)}" in printed
    assert "trainer.max_steps" in printed
    printed = run("evaluate.py", "--help")
    for group in ("sampler", "sampler/grid", "metrics"):
        for choice in (ROOT / "conf" / group).glob("*.yaml"):
            line = next(
                line for line in printed.splitlines() if line.strip().startswith(group + "=")
            )
            assert choice.stem in line
    assert "nfe=20" in printed


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate.py runs=nowhere", "no finished run under nowhere"),
        ("evaluate.py checkpoint=nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("evaluate.py checkpoint=README.md", "README.md is not a readable checkpoint"),
        ("evaluate.py nfe=1", "nfe=1"),
        ("evaluate.py sampler.eta=1.5", "eta=1.5"),
        ("evaluate.py sampler.eta=0.5 sampler.order=2", "eta=0.5 with order=2"),
        ("evaluate.py sampler=dbim_high_order sampler.order=4", "order=4"),
        ("evaluate.py sampler=nope", "Could not find 'sampler/nope'"),
        ("train.py network=nope", "Could not find 'network/nope'"),
        ("train.py hydra.run.dir=README.md/run", "another folder to write to"),
        ("train.py resume=nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("train.py trainer.max_steps=-1", "trainer.max_steps=-1"),
    ],
)
def test_bad_input_gets_one_line(command, message, tmp_path):
    script, *options = command.split()
    if "run.dir" not in command:
        options.append(f"hydra.run.dir={tmp_path}")
    printed = run(script, *options, status=1)
    assert message in printed
    assert printed.count("error: ") == 1
    assert "Traceback" not in printed


def test_resume_keeps_the_network(trained, tmp_path):
    last = trained / "checkpoints" / "last.ckpt"
    options = ["network=adm_small", f"hydra.run.dir={tmp_path}"]
    printed = run("train.py", f"resume={last}", *options, status=1)
    assert "error: network=adm_small cannot change in a resumed run" in printed
