"""Running the scripts as a person does."""

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
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


def logged(folder, column):
    with (folder / "logs" / "metrics.csv").open() as file:
        return {int(r["step"]): float(r[column]) for r in csv.DictReader(file) if r[column]}
