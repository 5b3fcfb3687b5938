"""CSV always; Weights & Biases where it is not disabled."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from dbim_lightning import wandb_runs
from dbim_lightning.training.folder import finished_at


def make_loggers(folder: Path, project: str, step: int | None = None) -> list[Logger]:
    """A CSV logger (`logs/metrics.csv`) and a W&B logger in `folder`, whose name its run has.

    Args:
        folder: of the run.
        project: in W&B.
        step: that a run goes on from in its own folder: earlier rows stay, later ones, which are
            made again, go; and W&B goes on with its run.
    """
    earlier = None if step is None else wandb_runs.id_in(folder)
    again = {} if earlier is None else {"id": earlier, "resume": "allow"}

    def wandb_logger(**options: Any) -> WandbLogger:
        run = {"project": project, "name": folder.name, "group": folder.name, **again}
        logger = WandbLogger(save_dir=folder, **run, **options)
        _ = logger.experiment
        return logger

    started = wandb_runs.start(wandb_logger)
    logger = _csv_logger(folder, step)
    return [logger] if started is None else [logger, started]


def _csv_logger(folder: Path, step: int | None) -> CSVLogger:
    """With the rows of an earlier run, whose file Lightning deletes when the logger starts."""
    logger = CSVLogger(folder, name="logs", version="")
    table = Path(logger.log_dir) / "metrics.csv"
    if step is not None and table.is_file():
        finished = finished_at(folder) == step
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if _is_before(row, step, finished)]
        for row in rows:
            values = {key: value for key, value in row.items() if value and key != "step"}
            logger.experiment.log_metrics(values, int(row["step"]))
        logger.save()
    return logger


def _is_before(row: dict[str, str], step: int, finished: bool) -> bool:
    """Whether a row was logged before so many steps were done.

    Lightning counts steps from 0 while it trains, and from 1 after that; evaluations, which give no
    epoch, count from 1.
    """
    if not row["step"]:  # torn, when a run was killed
        return False
    counts_from_1 = finished or not row["epoch"]
    return int(row["step"]) < step + counts_from_1
