"""From the configuration that comes with a file to a denoiser, without Hydra."""

import importlib
from typing import Any

from torch import nn

from dbim_lightning.bridge import BridgeDenoiser, Preconditioning, Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.weights.files import SavedDenoiser, load_weights

_ALLOWED = (nn.Module, Schedule, Preconditioning)


def build_denoiser(config: dict[str, Any]) -> BridgeDenoiser:
    """The denoiser that a configuration describes under `denoiser`, with fresh weights.

    Only modules, schedules and preconditionings are ever made, so that the file of a stranger
    cannot call anything else.

    Raises:
        UserError: the configuration names something else, or makes no denoiser.
    """
    denoiser = _make("denoiser", config.get("denoiser", {}))
    if not isinstance(denoiser, BridgeDenoiser):
        raise UserError(f"{type(denoiser).__name__} is no BridgeDenoiser: use a file of train.py")
    return denoiser


def restored(saved: SavedDenoiser) -> BridgeDenoiser:
    """The denoiser of a file with its weights, in evaluation mode on the CPU."""
    denoiser = build_denoiser(saved.config)
    load_weights(denoiser, saved)
    return denoiser.eval()


def _make(part: str, options: dict[str, Any]) -> Any:
    target = str(options.get("_target_", ""))
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{part} {target!r} cannot be imported ({error}): install what has it"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, _ALLOWED)):
        raise UserError(f"{target} is no {part}: the configuration is not one of this project")
    return kind(
        **{
            key: _make(key, value) if isinstance(value, dict) else value
            for key, value in options.items()
            if key != "_target_"
        }
    )
