"""Pictures of samples: one sheet per job, and one that sets the jobs of a sweep side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.report.rows import find_jobs, labels
from dbim_lightning.files import whole
from dbim_lightning.pictures import save_sheet

SHEET, _ARRAYS = "images.png", "images.npz"


def save_job_sheet(folder: Path, previews: Mapping[str, Images]) -> None:
    """Writes images.png (source, one row per noise, target) and its arrays, uint8, beside it."""
    first = next(iter(previews.values()))
    rows = {"source": first.sources, **{k: v.samples for k, v in previews.items()}}
    rows["target"] = first.targets
    save_sheet(folder / SHEET, rows)
    arrays = {"source": first.sources, "sample": first.samples, "target": first.targets}
    with whole(folder / _ARRAYS) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{k: v.numpy() for k, v in arrays.items()})


def save_sweep_sheet(folder: Path) -> None:
    """Writes images.png: the same sources in every job under `folder`, one row per job.

    Jobs without pictures are left out.
    """
    rows = {}
    drawn = {path: job for path, job in find_jobs(folder).items() if (path / _ARRAYS).exists()}
    for path, label in labels(drawn).items():
        with np.load(path / _ARRAYS) as arrays:
            images = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        rows = {"source": images["source"]} | rows
        rows[label] = images["sample"]
    if rows:
        rows["target"] = images["target"]
        save_sheet(folder / SHEET, rows)
