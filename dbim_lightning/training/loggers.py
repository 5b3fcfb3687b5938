"""CSV always; Weights & Biases where it is not disabled."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from dbim_lightning import wandb_runs


def make_loggers(folder: Path, project: str) -> list[Logger]:
    """A CSV logger (`logs/metrics.csv`) and a W&B logger in `folder`, whose name its run has."""

    def wandb_logger(**options: Any) -> WandbLogger:
        run = {"project": project, "name": folder.name, "group": folder.name}
        logger = WandbLogger(save_dir=folder, **run, **options)
        _ = logger.experiment
        return logger

    started = wandb_runs.start(wandb_logger)
    csv = CSVLogger(folder, name="logs", version="")
    return [csv] if started is None else [csv, started]
