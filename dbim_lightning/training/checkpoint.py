"""Beginning with the weights of a file."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import UserError
from dbim_lightning.weights import load_weights, read_denoiser


def load_initial(
    denoiser: BridgeDenoiser,
    path: Path,
    schedule: dict[str, Any],
    trusted: Collection[str] = (),
) -> None:
    """Puts the weights of a file into a denoiser that is to be trained on a schedule.

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
    load_weights(denoiser, saved)
