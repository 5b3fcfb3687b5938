"""The commands as a person types them, on a few images: train, evaluate, sweep, resume, Ctrl-C."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time

import lightning
import numpy as np
import pytest
import torch
from commands import ROOT, TINY, logged, run
from omegaconf import OmegaConf
from PIL import Image

from dbim_lightning import train
from dbim_lightning.config import instantiate
from dbim_lightning.training import device_of, trainer_precision
from dbim_lightning.weights import load_weights, read_denoiser


def test_training_leaves_checkpoints_curves_previews_and_result(trained):
    names = {path.name for path in (trained / "checkpoints").iterdir()}
    assert names == {"step_0000004.ckpt", "step_0000006.ckpt", "last.ckpt"}
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
    saved = read_denoiser(trained / "checkpoints" / "last.ckpt")
    cfg = OmegaConf.create(saved.config)
    module = train.make_module(cfg)
    load_weights(module.denoiser, saved)
    trainer = lightning.Trainer(
        precision=trainer_precision(device_of("auto")), logger=False, enable_checkpointing=False
    )
    (again,) = trainer.validate(module, instantiate(cfg.data), verbose=False)
    result = json.loads((trained / "training.json").read_text())
    for name in ("val/error", "val/loss", "val/error_q1", "val/loss_q4"):
        assert again[name] == pytest.approx(result[name], rel=1e-5)


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
    printed = run("train.py", *options, f"hydra.run.dir={tmp_path / 've'}", "schedule=ve", status=1)
    assert printed.count("error: ") == 1
    assert "VPSchedule" in printed


def test_features_of_an_evaluation_while_training_are_those_of_the_resumed_one(runs, openmoji_root):
    pytest.importorskip("timm")
    folder, resumed = runs / "with_features", runs / "with_features_resumed"
    options = [*TINY, f"dataset.root={openmoji_root}", "metrics@evaluation.metrics=offline"]
    options += ["evaluation.every_n_steps=2", "evaluation.num_images=4", "evaluation.nfe=[2]"]
    first = ["trainer.max_steps=3", "training.optimizer.lr=0", f"hydra.run.dir={folder}"]
    run("train.py", *options, *first)
    last = folder / "checkpoints" / "last.ckpt"
    run("train.py", f"resume={last}", "trainer.max_steps=6", f"hydra.run.dir={resumed}")
    column = "eval/dbim_nfe2/kid_lite0"
    (before,), (after,) = logged(folder, column).values(), logged(resumed, column).values()
    assert before == pytest.approx(after, rel=1e-6)


def folder_of_pairs(root, seed):
    """12 training and 4 test pairs of 40x40, sources of 16 bits from 100 to 3000 and more."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", 12), ("test", 4)):
        for side in ("source", "target"):
            (root / split / side).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 255, (40, 40, 3), np.uint8)
                if side == "source":
                    pixels = np.linspace(100, 3000 + seed, 1600).reshape(40, 40).astype(np.uint16)
                Image.fromarray(pixels).save(root / split / side / f"img{i}.png")
    return root


def test_what_a_resumed_run_is_told_is_in_force_and_evaluation_finds_it(tmp_path):
    here, moved = (folder_of_pairs(tmp_path / name, i) for i, name in enumerate(("a", "b")))
    options = ["dataset=paired_folder", f"dataset.root={here}", "dataset.image_size=32"]
    run("train.py", *TINY, *options, "trainer.max_steps=4", f"hydra.run.dir={tmp_path / 'run'}")
    folder, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = logged(folder, "train/loss")
    words = [f"dataset.root={moved}", "training.batch_size=8", "training.gradient_clip_val=0.01"]
    words += ["training.optimizer.lr=1e-6", "trainer.max_steps=7"]
    printed = run("train.py", f"resume={last}", *words)
    assert f"{moved}: folders" in printed
    checkpoint = torch.load(last, weights_only=True)
    config = checkpoint["dbim_lightning_config"]
    assert config == OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert config["data"]["dataset"]["root"] == config["dataset"]["root"] == str(moved)
    assert config["dataset"]["range"] == [[100, 3000], "auto"]  # of the data before
    assert config["data"]["batch_size"] == 8
    assert config["trainer"]["gradient_clip_val"] == 0.01
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == 1e-6
    assert checkpoint["PairDataModule"] == {"step": 7, "images": 4 * 4 + 3 * 8}
    assert logged(folder, "train/loss") == before | {5: logged(folder, "train/loss")[5]}
    options = [f"checkpoint={last}", "metrics=paired", "nfe=2"]
    run("evaluate.py", *options, f"dataset.root={here}", f"hydra.run.dir={tmp_path / 'eval'}")
    row = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert row["origin"]["dataset"] == config["dataset"] | {"root": str(here)}
    assert "differs_from_training" not in row["origin"]
    words = ["dataset=paired_folder", f"dataset.root={moved}", "dataset.image_size=40"]
    printed = run("evaluate.py", *options, *words, f"hydra.run.dir={tmp_path / 'named'}")
    row = json.loads((tmp_path / "named" / "results.json").read_text())
    differs = row["origin"]["differs_from_training"]
    ranges = ([[100.0, high], "auto"] for high in (3001.0, 3000.0))
    told = "dataset.image_size 40 (training: 32), dataset.range {} (training: {})".format(*ranges)
    assert differs.startswith(told)
    assert f"differ from those of the training: {differs}" in printed
    printed = run("evaluate.py", *options, f"hydra.run.dir={tmp_path / 'named'}", status=1)
    assert "results.json is of another job: choose another folder" in printed
    assert json.loads((tmp_path / "named" / "results.json").read_text()) == row


def test_intervals_are_counted_in_steps_however_many_batches_a_step_has(tmp_path, openmoji_root):
    options = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    options += ["trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2"]
    run("train.py", *options, "trainer.max_steps=5", "+trainer.enable_progress_bar=false")
    assert {path.name[-6:-4] for path in (tmp_path / "previews").iterdir()} == {"02", "04", "05"}
    assert logged(tmp_path, "train/loss").keys() == {1, 3}
    assert logged(tmp_path, "val/loss").keys() == {1, 3, 5}


def test_jobs_of_a_sweep_are_runs_of_their_own_in_wandb(tmp_path, openmoji_root, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [*TINY, f"dataset.root={openmoji_root}", "trainer.max_steps=1"]
    run("train.py", "-m", *options, "seed=0,1", f"hydra.sweep.dir={tmp_path}")
    found = [path.name for path in tmp_path.glob("[01]/wandb/offline-run-*")]
    assert len({name.rpartition("-")[2] for name in found}) == 2
    for job in "01":
        assert len(list((tmp_path / job).glob("wandb/offline-run-*"))) == 1


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
    run("train.py", command[command.index("resume=") :], f"trainer.max_steps={step + 1}")
    assert torch.load(last, weights_only=True)["global_step"] == step + 1
    assert logged(folder, "train/loss").keys() >= {1, 3}


@pytest.mark.parametrize(
    ("script", "others"),
    [
        ("train", set()),
        (
            "evaluate",
            {"experiment", "network", "objective", "preconditioning", "schedule", "training"},
        ),
    ],
)
def test_help_shows_every_group_and_key_of_the_configuration(script, others):
    lines = run(f"{script}.py", "--help").splitlines()
    for folder in (path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        choices = sorted(path.stem for path in folder.glob("*.yaml"))
        shown = f"  {folder.name}: {', '.join(choices)}" in lines
        assert shown == (folder.name not in others), folder
    for key in OmegaConf.load(ROOT / "conf" / f"{script}.yaml"):
        if key not in ("defaults", "hydra"):
            assert any(line.startswith(f"  {key}: ") or line == f"  {key}:" for line in lines), key


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate.py runs=nowhere", "no finished run under nowhere"),
        ("evaluate.py checkpoint=nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("evaluate.py checkpoint=README.md", "README.md is not a readable checkpoint"),
        ("evaluate.py nfe=1", "nfe=1"),
        ("evaluate.py sampler.eta=-0.5", "sampler.eta=-0.5"),
        ("evaluate.py sampler.eta=1.5 sampler.omega=published", "eta=1.5 in the published form"),
        ("evaluate.py sampler.eta=0.5 sampler.order=2", "eta=0.5 with order=2"),
        ("evaluate.py sampler=dbim_high_order sampler.order=4", "order=4"),
        ("evaluate.py seed=abc", "seed=abc: give a whole number"),
        ("evaluate.py samples=x nfe=5 dataset=openmoji device=quick", "device=quick cannot be"),
        ("evaluate.py samples=x dataset=openmoji", "samples=x: give nfe=N, the calls they"),
        ("evaluate.py nfe=ten", "nfe=ten: give a whole number"),
        ("evaluate.py precision=half", "precision=half: choose auto, float32"),
        ("train.py precision=half", "precision=half: choose auto, float32"),
        ("evaluate.py nfo=5", "there is no key nfo: the nearest are nfe"),
        ("evaluate.py +eta=1", "there is no key eta: the nearest are sampler.eta"),
        ("train.py trainer.max_step=5", "trainer.max_step: the nearest are trainer.max_steps"),
        ("train.py +max_steps=5", "nearest are trainer.max_steps, training.max_steps"),
        ("train.py objective.times=lambda", "write objective/times=lambda"),
        ("train.py evaluation.best=eval/dbim_nfe5/mse", "needs evaluation.every_n_steps"),
        ("evaluate.py sampler=nope", "Could not find 'sampler/nope'"),
        ("train.py network=nope", "Could not find 'network/nope'"),
        ("train.py hydra.run.dir=README.md/run", "another folder to write to"),
        ("train.py resume=nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
        ("train.py trainer.max_steps=-1", "trainer.max_steps=-1: give a whole number, 1 or more"),
        ("train.py data.flip=maybe", "data.flip=maybe: give true or false"),
        ("train.py +training.optimizer.eps=-1", "training.optimizer: Invalid epsilon"),
        ("train.py trainer.strategy=quick", "quick"),
        ("train.py training.ema=null", "training.ema=null: it holds training.ema.decay"),
        ("train.py trainer.max_time=-1:00:00:00", "give more than no time"),
        ("train.py trainer.max_time=long", "trainer.max_time=long: give DD:HH:MM:SS"),
        ("train.py network.channel_mult=[1,2,2,2,2,2,2]", "multiples of 64, such as 64 or 128"),
    ],
)
def test_bad_input_gets_one_line(command, message, tmp_path, monkeypatch, capfd):
    script, *options = command.split()
    if "run.dir" not in command:
        options.append(f"hydra.run.dir={tmp_path}")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert str(ended.value).startswith("error: ")
    assert message in str(ended.value)
    printed = "".join(capfd.readouterr())
    assert "error: " not in printed
    assert "Traceback" not in printed


def test_resume_keeps_the_network(trained, tmp_path):
    last = trained / "checkpoints" / "last.ckpt"
    options = ["network=adm_small", f"hydra.run.dir={tmp_path}"]
    printed = run("train.py", f"resume={last}", *options, status=1)
    assert "error: network=adm_small cannot change in a resumed run" in printed
