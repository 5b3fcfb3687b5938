"""From the configuration that comes with a file to a denoiser and samplers, without Hydra.

What is imported here was looked at where the file was read (`strangers.require_harmless`).
"""

import importlib
import math
from pathlib import Path
from typing import Any

from torch import nn

from dbim_lightning.bridge import BridgeDenoiser, Preconditioning, Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import Listed, Sampler, StartedGrid
from dbim_lightning.weights.files import SavedDenoiser, load_weights

# What the file of a stranger may make: no other class is.
_OF_DENOISERS = (nn.Module, Schedule, Preconditioning)
_OF_SAMPLERS = (Sampler, StartedGrid, Listed)


def build_denoiser(config: dict[str, Any]) -> BridgeDenoiser:
    """The denoiser that a configuration describes under `denoiser`, with fresh weights.

    Raises:
        UserError: the configuration names something else, or makes no denoiser.
    """
    denoiser = _make("denoiser", config.get("denoiser", {}), _OF_DENOISERS)
    if not isinstance(denoiser, BridgeDenoiser):
        raise UserError(f"{type(denoiser).__name__} is no BridgeDenoiser: use a file of a training")
    return denoiser


def restored(saved: SavedDenoiser) -> BridgeDenoiser:
    """The denoiser of a file with its weights, in evaluation mode on the CPU."""
    denoiser = build_denoiser(saved.config)
    load_weights(denoiser, saved)
    return denoiser.eval()


def recommended_sampler(path: Path, config: dict[str, Any], nfe: int) -> Sampler:
    """The sampler that a file carries for its weights; of several, that tuned for the nearest NFE.

    Args:
        path: of the file, for errors.
        config: in the file, with the samplers by NFE.

    Raises:
        UserError: the file carries none, or something that is no sampler.
    """
    if not (samplers := config.get("samplers")):
        raise UserError(
            f"{path} carries no sampler: python -m dbim_lightning.evaluation.tune makes one, "
            "python -m dbim_lightning.weights export --sampler FILE puts it in"
        )
    is_table = isinstance(samplers, dict) and all(isinstance(s, dict) for s in samplers.values())
    if not is_table or not all(key.isdecimal() and 0 < int(key) < 1e9 for key in samplers):
        raise UserError(f"{path}: its samplers do not stand by NFE: export it again")
    nearest = min(samplers, key=lambda key: abs(math.log(int(key) / nfe)))
    sampler = _make("sampler", {**samplers[nearest], "nfe": nfe}, _OF_SAMPLERS)
    if not isinstance(sampler, Sampler):
        raise UserError(f"{path}: {type(sampler).__name__} is no sampler: export it again")
    return sampler


def _make(part: str, options: dict[str, Any], allowed: tuple[type, ...]) -> Any:
    target = str(options.get("_target_", ""))
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{part} {target!r} cannot be imported ({error}): install what has it"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, allowed)):
        raise UserError(f"{target} is no {part}: the configuration is not one of this project")
    made = {
        key: _make(key, value, allowed) if isinstance(value, dict) else value
        for key, value in options.items()
        if key != "_target_"
    }
    try:
        return kind(**made)
    except UserError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{part} {target} cannot be made ({reason}): use another file") from error
