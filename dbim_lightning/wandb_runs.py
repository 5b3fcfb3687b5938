"""Weights & Biases without ever asking or waiting."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import wandb
from requests.utils import get_netrc_auth

from dbim_lightning import commands

INIT_TIMEOUT_S = 20
Started = TypeVar("Started")


def start(make: Callable[..., Started]) -> Started | None:
    """Starts a run online only where the user has logged in and the server answers, else offline;
    WANDB_MODE (online, offline, disabled) decides if it is set.

    Args:
        make: takes the options mode and settings of `wandb.init`.

    Returns:
        What it makes, or None where W&B is disabled.
    """
    mode = os.environ.get("WANDB_MODE", "online" if _logged_in() else "offline")
    if mode == "disabled":
        return None
    if mode == "offline":
        wandb.setup(wandb.Settings(silent=True))
    settings = wandb.Settings(init_timeout=INIT_TIMEOUT_S)
    try:
        return make(mode=mode, settings=settings)
    except wandb.errors.Error as error:
        warnings.warn(
            f"W&B cannot be reached ({error}); logging offline, see `wandb sync`", stacklevel=2
        )
        return make(mode="offline", settings=settings)


def finish() -> None:
    """Ends the run that is under way, if there is one: the next is another."""
    if wandb.run is not None:
        wandb.finish()


def _logged_in() -> bool:
    """Whether there is a key in the environment or the netrc file; nobody is asked."""
    url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return "WANDB_API_KEY" in os.environ or get_netrc_auth(url) is not None


def id_in(folder: Path) -> str | None:
    """The id of the newest run that was logged in a folder."""
    found = sorted((folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
    return found[-1].name.rpartition("-")[2] if found else None


def group_of(checkpoint: Path) -> str:
    """The W&B group of a training and of all that is done with its checkpoint: its run's folder."""
    inside = checkpoint.parent.name == "checkpoints"
    return checkpoint.absolute().parents[1].name if inside else checkpoint.stem


def log_once(folder: Path, what: dict[str, Any], **options: Any) -> None:
    """A run that logs one thing and ends.

    Args:
        folder: for its files.
        what: numbers, tables and pictures by name.
        options: of `wandb.init`.
    """
    run = start(lambda **mode: wandb.init(dir=folder, name=folder.name, **options, **mode))
    if run is not None:
        run.log(what)
        folder = commands.path(run.dir.removesuffix("/files"))
        where = f"wandb sync {folder}" if run.offline else run.url
        run.finish()
        print(f"W&B: {where}")
