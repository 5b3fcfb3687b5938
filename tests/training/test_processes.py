"""Two processes train what one trains with twice the batch, and neither outlives the other."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from commands import ROOT, logged

WORDS = ["trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "data.max_images=48"]
WORDS += ["trainer.val_check_interval=3", "data.num_validation_images=6", "preview.num_images=2"]
WORDS += ["preview.nfe=[2]", "data.flip=true", "training.warmup_steps=0"]
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "training.batch_size=4"]
ONE = ["training.batch_size=8"]
pytestmark = pytest.mark.slow


def start(processes, *words):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), "train.py", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT
    )


def children(process):
    command = ["ps", "--ppid", str(process.pid), "-o", "pid="]
    return [int(pid) for pid in subprocess.check_output(command).split()]


def finish(processes, *words):
    process = start(processes, *words)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    return printed


@pytest.fixture(params=[2, 1], ids=["torchrun", "Lightning"])
def training(tmp_path, openmoji_root, request):
    """Two processes that have saved, and would go on for long; who starts the second."""
    words = [*WORDS, *TWO, f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    words += ["trainer.max_steps=100000", "trainer.limit_val_batches=0"]
    process = start(request.param, *words, "checkpoint_every_n_steps=2")
    end = time.monotonic() + 100
    while not (tmp_path / "checkpoints" / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.2)
    return process


@pytest.fixture(scope="module")
def folders(tmp_path_factory, openmoji_root):
    folder = tmp_path_factory.mktemp("processes")
    words = [*WORDS, f"dataset.root={openmoji_root}"]
    for count, name in ((1, "one"), (2, "two")):
        own = [*(TWO if count == 2 else ONE), f"hydra.run.dir={folder / name}"]
        finish(count, *words, *own, "trainer.max_steps=3")
        (folder / name / "training.json").unlink()
    return folder


def test_losses_weights_and_validation_agree(folders):
    one, two = (logged(folders / name, "train/loss") for name in ("one", "two"))
    assert one.keys() == {0, 1, 2}
    assert two == pytest.approx(one, rel=1e-5)
    val = [logged(folders / name, "val/error")[2] for name in ("one", "two")]
    assert val[0] == pytest.approx(val[1], rel=1e-5)


def test_one_goes_on_with_two_and_two_with_one(folders):
    last = {name: folders / name / "checkpoints" / "last.ckpt" for name in ("one", "two")}
    single = ["trainer.devices=1", "trainer.strategy=auto", *ONE]
    results = {}
    for name, count, own in (("one", 2, TWO), ("two", 1, single), ("one", 1, single)):
        folder = folders / f"{name}{count}"
        words = [*own, "trainer.max_steps=5", f"hydra.run.dir={folder}"]
        finish(count, f"resume={last[name]}", *words)
        results[name, count] = logged(folder, "train/loss")
        images = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        assert images["PairDataModule"] == {"step": 5, "images": 40}
    undisturbed = results.pop(("one", 1))
    for losses in results.values():
        assert losses == pytest.approx(undisturbed, rel=1e-5)


def test_if_one_is_killed_the_other_ends_and_says_how_to_go_on(training):
    child = children(training)[-1]
    began = time.monotonic()
    os.kill(child, signal.SIGKILL)
    printed, _ = training.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert training.returncode != 0
    assert "error: process 0 has lost another one of 2" in printed
    assert "Resume with: python train.py resume=" in printed


def test_a_signal_to_one_ends_all_after_the_same_step(training):
    child = children(training)[-1]
    os.kill(child, signal.SIGTERM)
    printed, _ = training.communicate(timeout=60)
    assert training.returncode != 0
    assert printed.count("Saved step ") == 1
    assert "Traceback" not in printed.split("Saved step")[0]
