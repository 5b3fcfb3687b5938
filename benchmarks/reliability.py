"""kill -9 at random moments, until nothing is left to do: python -m benchmarks.reliability [NAME].

Training with a checkpoint at each step, an evaluation that keeps its samples, packing, and
preparing an archive are each run undisturbed, and once more while they are killed again and again
and started with the same words. Prints how many kills each came through, and whether what it left
equals what the undisturbed one left. About a quarter of an hour on two cores.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TIMES = ("images_per_second", "seconds", "seconds_per_image", "peak_memory_gb", "epoch")


def start(words: list[str], log: Path) -> subprocess.Popen:
    with log.open("w") as file:
        command = [sys.executable, *words]
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def finished(words: list[str], log: Path) -> bool:
    return start(words, log).wait() == 0


def disturbed(words: list[str], log: Path, ready: str, span: float, kills: int) -> tuple[int, int]:
    """Runs a command until it ends by itself, killed so many times on the way.

    Args:
        ready: what it prints once its work begins.
        span: seconds after that, up to which it is killed.

    Returns:
        How many times it was killed, and how many lives ended in an error.
    """
    done = errors = 0
    while True:
        process = start(words, log)
        if done < kills:
            while ready not in log.read_text() and process.poll() is None:
                time.sleep(0.02)
            time.sleep(random.uniform(0, span))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                continue
        if process.wait() != 0:
            errors += 1
            print(log.read_text()[-2000:])
            if errors > 2:
                return done, errors
            continue
        return done, errors


def content(path: Path) -> str:
    """A hash of what a command left, whichever times it took."""
    digest = hashlib.sha256()
    if path.name == "last.ckpt":
        saved = torch.load(path, weights_only=True)
        for part in ("state_dict", "current_model_state", "optimizer_states"):
            digest.update(repr(_plain(saved[part])).encode())
    elif path.name == "metrics.csv":
        with path.open() as file:
            rows = [{k: v for k, v in r.items() if k not in TIMES} for r in csv.DictReader(file)]
        digest.update(json.dumps([r for r in rows if any(r[k] for k in r if k != "step")]).encode())
    elif path.suffix == ".json":
        digest.update(json.dumps(_plain(json.loads(path.read_text()))).encode())
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    return value


def archive(path: Path, count: int) -> None:
    """As edges2handbags comes: strips of 512x256."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as tar:
        for split, number in (("train", count), ("val", 20)):
            for i in range(1, number + 1):
                small = Image.fromarray(generator.integers(0, 255, (4, 8, 3), np.uint8))
                file = io.BytesIO()
                small.resize((512, 256), Image.Resampling.BICUBIC).save(file, "jpeg")
                info = tarfile.TarInfo(f"edges2handbags/{split}/{i}_AB.jpg")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))


def training(folder: Path, where: Path) -> tuple[list[str], str, float, list[Path]]:
    words = ["train.py", "dataset=packed", f"dataset.root={folder / 'packed'}", "resume=auto"]
    words += ["training.batch_size=2", "trainer.max_steps=120", "checkpoint_every_n_steps=1"]
    words += ["trainer.val_check_interval=60", "preview.num_images=2", "preview.nfe=[2]"]
    words += [
        "trainer.log_every_n_steps=5",
        "data.num_validation_images=8",
        "trainer.accelerator=cpu",
    ]
    run = where / "run"
    left = [run / "checkpoints" / "last.ckpt", run / "logs" / "metrics.csv"]
    return [*words, f"hydra.run.dir={run}"], "Checkpoints of", 5.0, left


def evaluation(folder: Path, where: Path) -> tuple[list[str], str, float, list[Path]]:
    words = [
        "evaluate.py",
        f"checkpoint={folder / 'bridge/checkpoints/last.ckpt'}",
        "nfe=5",
        "num_images=960",
    ]
    words += ["keep_samples=true", "metrics=paired", "batch_size=16", f"folder={where / 'kept'}"]
    words += ["device=cpu", f"dataset.root={folder / 'many'}", f"hydra.run.dir={where / 'run'}"]
    return words, "Evaluating", 5.0, [where / "run" / "results.json"]


def packing(folder: Path, where: Path) -> tuple[list[str], str, float, list[Path]]:
    words = ["-m", "dbim_lightning.data.pack", "dataset=restoration", "--workers", "1"]
    words += [
        f"dataset.root={folder / 'pictures'}",
        "dataset.image_size=64",
        "-o",
        str(where / "out"),
    ]
    return words, "Packing", 2.0, _packed(where / "out")


def preparing(folder: Path, where: Path) -> tuple[list[str], str, float, list[Path]]:
    words = ["-m", "dbim_lightning.data.prepare", "edges2handbags", "--root", str(where)]
    words += ["--archive", str(folder / "edges2handbags.tar.gz"), "--image-size", "64"]
    return [*words, "--workers", "1"], "npacking", 1.5, _packed(where / "edges2handbags" / "64px")


def _packed(folder: Path) -> list[Path]:
    return [folder / split / "images.u8" for split in ("train", "test")]


TRIALS = {f.__name__: f for f in (training, evaluation, packing, preparing)}


def prepared(folder: Path, names: list[str]) -> None:
    """The data and the bridge that the trials begin with."""
    log = folder / "log"
    if {"preparing", "training", "evaluation"} & {*names}:
        archive(folder / "edges2handbags.tar.gz", 3000)
    if "packing" in names:
        generator = np.random.default_rng(1)
        for split, count in (("train", 1500), ("test", 40)):
            (folder / "pictures" / split).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 255, (24, 24, 3), np.uint8)
                picture = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC)
                picture.save(folder / "pictures" / split / f"{i}.jpg")
    if {"training", "evaluation"} & {*names}:
        words = ["-m", "dbim_lightning.data.prepare", "edges2handbags", "--root", str(folder / "a")]
        words += ["--archive", str(folder / "edges2handbags.tar.gz"), "--image-size", "32"]
        assert finished([*words, "--workers", "1"], log), log.read_text()
        (folder / "packed").symlink_to(folder / "a" / "edges2handbags" / "32px")
        many = folder / "many"  # the training images, to be evaluated
        many.mkdir()
        for split in ("train", "validation", "test"):
            (many / split).symlink_to(folder / "packed" / "train")
    if "evaluation" in names:
        words, *_ = training(folder, folder)
        words = [word for word in words if not word.startswith("hydra.run.dir")]
        words += [f"hydra.run.dir={folder / 'bridge'}", "trainer.max_steps=2"]
        assert finished(words, log), log.read_text()


def trial(make: Callable, folder: Path, kills: int) -> str:
    name = make.__name__
    whole = folder / name / "whole"
    whole.mkdir(parents=True)
    words, _, _, left = make(folder, whole)
    began = time.monotonic()
    assert finished(words, folder / "log"), (folder / "log").read_text()
    alone = time.monotonic() - began
    expected = [content(path) for path in left]
    killed = errors = runs = equal = 0
    while killed < kills:
        words, ready, span, again = make(folder, folder / name / f"parts{runs}")
        done, failed = disturbed(words, folder / "log", ready, span, min(kills - killed, 7))
        killed, errors, runs = killed + done, errors + failed, runs + 1
        equal += [content(path) for path in again] == expected
    return f"| {name} | {alone:.0f} | {killed} | {killed - errors} | {equal} of {runs} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*TRIALS, []], default=[])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    os.environ |= {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    random.seed(0)
    names = options.names or list(TRIALS)
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder), names)
        print("| work | seconds alone | kill -9 | survived | runs equal to the undisturbed |")
        print("| --- | --- | --- | --- | --- |")
        for name in names:
            print(trial(TRIALS[name], Path(folder), options.kills), flush=True)


if __name__ == "__main__":
    main()
