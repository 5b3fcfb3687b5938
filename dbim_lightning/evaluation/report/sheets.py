"""Pictures of samples: one sheet per job, and one that sets the jobs of a sweep side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dbim_lightning.archives import UNREADABLE, array, opened_arrays
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Rows
from dbim_lightning.evaluation.report.rows import find_jobs, labels
from dbim_lightning.files import whole
from dbim_lightning.pictures import save_sheet

SHEET, _ARRAYS = "images.png", "images.npz"


def save_job_sheets(
    folder: Path, previews: Mapping[str, Images], pictures: Mapping[str, Rows]
) -> None:
    """Writes images.png (source, one row per noise, target) and its arrays, uint8, beside it.

    Args:
        pictures: further ones, by their file's stem.
    """
    first = next(iter(previews.values()))
    samples = [(name, images.samples) for name, images in previews.items()]
    for name, rows in pictures.items():
        save_sheet(folder / f"{name}.png", rows)
    save_sheet(folder / SHEET, [("source", first.sources), *samples, ("target", first.targets)])
    arrays = {"source": first.sources, "sample": first.samples, "target": first.targets}
    with whole(folder / _ARRAYS) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{k: v.numpy() for k, v in arrays.items()})


def save_sweep_sheet(folder: Path) -> None:
    """Writes images.png: source, one row per job under `folder`, target.

    Jobs of other images come below, with sources and targets of their own. Jobs without pictures
    are left out.
    """
    drawn = {path: job for path, job in find_jobs(folder).items() if (path / _ARRAYS).exists()}
    sheets: dict[bytes, list[tuple[str, torch.Tensor]]] = {}
    for path, label in labels(drawn).items():
        images = _arrays(path / _ARRAYS)
        source, target = ("source", images["source"]), ("target", images["target"])
        pairs = images["source"].numpy().tobytes() + images["target"].numpy().tobytes()
        rows = sheets.setdefault(pairs, [source, target])
        rows.insert(-1, (label, images["sample"]))
    if sheets:
        save_sheet(folder / SHEET, [row for rows in sheets.values() for row in rows])


def _arrays(path: Path) -> dict[str, torch.Tensor]:
    try:
        with opened_arrays(path) as arrays:
            names, shape = ("source", "sample", "target"), (-1, 3, -1, -1)
            return {n: torch.from_numpy(array(arrays, n, shape, np.uint8)) for n in names}
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read ({error}): evaluate this job again") from error
