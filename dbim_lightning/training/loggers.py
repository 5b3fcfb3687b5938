"""CSV always; Weights & Biases without ever asking or waiting."""

import os
from pathlib import Path

import wandb
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from requests.utils import get_netrc_auth

INIT_TIMEOUT_S = 20


def make_loggers(folder: Path, project: str) -> list[Logger]:
    """A CSV logger (`logs/metrics.csv`) and a W&B logger in `folder`.

    W&B runs online only where the user has logged in and its server answers, else offline;
    WANDB_MODE (online, offline, disabled) decides if it is set.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="logs", version="")]
    mode = os.environ.get("WANDB_MODE", "online" if _logged_in() else "offline")
    if mode != "disabled":
        loggers.append(_wandb_logger(folder, project, mode))
    return loggers


def _logged_in() -> bool:
    """Whether there is a key in the environment or the netrc file; nobody is asked."""
    url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return "WANDB_API_KEY" in os.environ or get_netrc_auth(url) is not None


def _wandb_logger(folder: Path, project: str, mode: str) -> WandbLogger:
    if mode == "offline":
        wandb.setup(wandb.Settings(silent=True))
    options = {"project": project, "save_dir": folder, "name": folder.name}
    settings = wandb.Settings(init_timeout=INIT_TIMEOUT_S)
    logger = WandbLogger(**options, mode=mode, settings=settings)
    try:
        _ = logger.experiment
    except wandb.errors.Error as error:
        rank_zero_warn(f"W&B cannot be reached ({error}); logging offline, see `wandb sync`")
        logger = WandbLogger(**options, mode="offline", settings=settings)
    return logger
