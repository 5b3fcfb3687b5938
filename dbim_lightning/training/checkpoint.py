"""Beginning with the weights of a file, or going on from all of it."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.weights import read_denoiser
from dbim_lightning.weights.files import SavedDenoiser, read_tensors


def read_initial(
    path: Path, schedule: dict[str, Any], trusted: Collection[str] = ()
) -> SavedDenoiser:
    """The weights of a file with which a training on a schedule is to begin.

    Args:
        trusted: what the file may name beside this project's classes.

    Raises:
        UserError: the file cannot be read, or is of another network or schedule.
    """
    saved = read_denoiser(path, trusted=trusted)
    if (theirs := saved.config["denoiser"]["schedule"]) != schedule:
        raise UserError(
            f"{path} was trained with the schedule {theirs}, not {schedule}: "
            "choose that one, or leave weights out"
        )
    return saved


def require_resumable(path: Path) -> None:
    """
    Raises:
        UserError: a checkpoint whose state of the training has not the form that Lightning writes.
    """
    content = read_tensors(path)
    try:
        loop, optimizers = content["loops"]["fit_loop"], content["optimizer_states"]
        nodes = [*content["callbacks"].values(), *content["lr_schedulers"], *optimizers]
        nodes += [optimizer["state"] for optimizer in optimizers]
        nodes += [group for optimizer in optimizers for group in optimizer["param_groups"]]
        nodes += [loop["epoch_loop.state_dict"], loop["epoch_loop.batch_progress"]]
        counts = [content["epoch"], *content.get("PairDataModule", {}).values()]
        counts += [content.get("skipped_steps", 0)]
        counts += [scheduler["last_epoch"] for scheduler in content["lr_schedulers"]]
        is_version = re.fullmatch(r"\d+\.\d+[\w.+-]*", content["pytorch-lightning_version"])
        is_whole = is_version and all(isinstance(node, dict) for node in nodes)
        recent = content.get("since_last_row", {}).values()
        is_whole = is_whole and all(isinstance(values, Tensor) for values in recent)
        is_whole = is_whole and all(type(count) is int and count >= 0 for count in counts)
    except (KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path} cannot be gone on from, its state of the training is not whole: give a "
            "checkpoint of a training; weights=FILE begins with its weights alone"
        )
