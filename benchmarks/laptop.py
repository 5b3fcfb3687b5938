"""What the short default costs on this machine: python -m benchmarks.laptop.

Trains 150 steps and samples two images at NFE 20, each as its own program, and prints training
speed, peak memory, and the seconds from typing the command to the finished images.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch


def seconds(*command: str) -> float:
    """Wall-clock time of a program that prints nothing here."""
    start = time.monotonic()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main() -> None:
    os.environ["WANDB_MODE"] = "disabled"
    with tempfile.TemporaryDirectory() as folder:
        run, evaluation = f"hydra.run.dir={folder}/run", f"hydra.run.dir={folder}/evaluation"
        seconds("train.py", "trainer.max_steps=150", run)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        speed = json.loads((Path(folder) / "run/training.json").read_text())["images_per_second"]
        options = [f"runs={folder}", "nfe=20", "num_images=2", "metrics=paired", evaluation]
        to_image = seconds("evaluate.py", *options)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"training: {speed:.0f} images/s, peak memory {peak:.2f} GB")
    print(f"evaluate.py, from start to two finished images and their results: {to_image:.1f} s")


if __name__ == "__main__":
    main()
