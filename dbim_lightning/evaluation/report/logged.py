"""Jobs and sweeps in Weights & Biases, beside the training whose bridge they judge."""

import json
from pathlib import Path
from typing import Any

import wandb

from dbim_lightning.evaluation.report.results import ASKED, FILE, Row, flat_row, read_row
from dbim_lightning.evaluation.report.rows import find_jobs
from dbim_lightning.evaluation.report.sheets import SHEET
from dbim_lightning.evaluation.report.summary import PLOTS
from dbim_lightning.wandb_runs import group_of, log_once
from dbim_lightning.weights.files import CONFIG_KEY, read_tensors


def log_job(folder: Path) -> None:
    """Logs the numbers of a job, as eval/mse and so on, and its images, as a run."""
    row = read_row(folder / FILE)
    numbers = {f"eval/{key}": value for key, value in row["metrics"].items()}
    costs = {f"cost/{key}": value for key, value in row["cost"].items()}
    known = {key: value for key, value in {**numbers, **costs}.items() if value is not None}
    asked = {key: row[key] for key in ASKED}
    _log(folder, [row], {**known, "images": _image(folder / SHEET)}, asked)


def log_sweep(folder: Path) -> None:
    """Logs the jobs of a sweep as a table, with its plots and images, as one run."""
    rows = [read_row(path / FILE) for path in find_jobs(folder)]
    lines = [flat_row(row) for row in rows]
    names = list(dict.fromkeys(key for line in lines for key in line))
    table = wandb.Table(names, [[line.get(name) for name in names] for line in lines])
    pictures = [folder / name for name in (*PLOTS, SHEET)]
    shown = {path.stem: _image(path) for path in pictures if path.exists()}
    _log(folder, rows, {"jobs": table, **shown}, {})


def _image(path: Path) -> wandb.Image:
    return wandb.Image(str(path))


def _log(folder: Path, rows: list[Row], what: dict[str, Any], config: dict[str, Any]) -> None:
    """In project and group of the first training, if there is one."""
    run = {"project": "dbim_lightning", "job_type": "evaluation", "config": config}
    checkpoints = [row["origin"]["checkpoint"] for row in rows if "checkpoint" in row["origin"]]
    if checkpoints:
        path = Path(checkpoints[0])
        run["group"] = group_of(path)
        run["project"] = _project_of(path) or run["project"]
    log_once(folder, what, **run)


def _project_of(checkpoint: Path) -> str | None:
    """The W&B project of a training, if its file says it."""
    config = read_tensors(checkpoint).get(CONFIG_KEY, {})
    config = json.loads(config) if isinstance(config, str) else config
    return config.get("wandb_project")
