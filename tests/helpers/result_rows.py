"""Result rows as evaluate.py writes them, with made-up numbers."""

import json
from dataclasses import asdict
from pathlib import Path

from dbim_lightning.evaluation.metrics import Column
from dbim_lightning.evaluation.report.results import FORMAT
from dbim_lightning.evaluation.report.rows import Job, job_of

COLUMNS = {
    "kid_lite0": Column("KID × 10³", 2, "↓", scale=1e3, note="in features of its own"),
    "fd_lite0": Column("FD", 2, "↓", note="in features of its own"),
    "mse": Column("MSE", 4, "↓"),
    "psnr": Column("PSNR", 2, "↑", unit="dB", plotted=False),
    "ssim": Column("SSIM", 3, "↑"),
}
BASELINES = {
    "source": {"kid_lite0": 0.107, "fd_lite0": 113.5, "mse": 0.08, "psnr": 9.1, "ssim": 0.5},
    "training targets": {"kid_lite0": 0.0082, "fd_lite0": 67.5},
}
ORIGIN = ("checkpoint", "checkpoint_sha256", "dataset", "precision")


def result(
    nfe: int,
    eta: float | None,
    sampler: str = "dbim_lightning.samplers.dbim.DBIM",
    metrics: dict[str, float] | None = None,
    columns: dict[str, Column] = COLUMNS,
    baselines: dict = BASELINES,
    seconds: float = 0.5,
    seed: int = 0,
    num_images: int = 358,
    nfe_counted: int | None = None,
    **settings,
) -> dict:
    """A row; `settings` are those of the sampler, or of the origin."""
    numbers = {
        "kid_lite0": 0.02 / nfe,
        "fd_lite0": 50.0 - nfe + (eta or 0),
        "mse": 0.05 + nfe / 1000,
        "psnr": 14.25,
        "ssim": 0.7,
    }
    origin = {"checkpoint": "last.ckpt", "checkpoint_sha256": "0"}
    origin |= {key: settings.pop(key) for key in ORIGIN if key in settings}
    eta = {} if eta is None else {"eta": eta}
    return {
        "format": FORMAT,
        "protocol": {"name": "toy", "split": "test"},
        "sampler": {"_target_": sampler, **eta, **settings},
        "nfe": nfe,
        "seed": seed,
        "num_images": num_images,
        "origin": origin,
        "metrics": numbers | (metrics or {}),
        "columns": {key: asdict(column) for key, column in columns.items()},
        "cost": {"nfe_counted": nfe_counted or nfe, "seconds_per_image": seconds},
        "baselines": baselines,
    }


def jobs_of(rows: list[dict]) -> list[Job]:
    return [job_of(row) for row in rows]


def write(folder: Path, rows: list[dict]) -> Path:
    """Each row as the job of a sweep in the folder."""
    for i, row in enumerate(rows):
        job = folder / "sweep" / str(i)
        job.mkdir(parents=True)
        (job / "results.json").write_text(json.dumps(row))
    return folder


def cells(text: str) -> list[list[str]]:
    """Of the table in a Markdown text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
