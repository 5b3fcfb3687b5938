"""From a configuration to objects, without Hydra, for configurations that come with a file."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from dbim_lightning.bridge import BridgeDenoiser, Schedule
from dbim_lightning.errors import UserError

_KINDS: dict[str, Callable[[type], bool]] = {
    "network": lambda kind: issubclass(kind, nn.Module),
    "schedule": lambda kind: issubclass(kind, Schedule),
    "preconditioning": dataclasses.is_dataclass,
}


def build_denoiser(config: dict[str, Any]) -> BridgeDenoiser:
    """The denoiser that a configuration describes, with fresh weights.

    Only nn.Modules, a `Schedule` and a preconditioning (a dataclass) are ever made, so that the
    file of a stranger cannot call anything else.

    Raises:
        UserError: the configuration lacks a part, or names something else than such a class.
    """
    return BridgeDenoiser(
        *(_make(part, config.get(part, {}), is_kind) for part, is_kind in _KINDS.items())
    )


def _make(part: str, options: dict[str, Any], is_kind: Callable[[type], bool]) -> Any:
    target = str(options.get("_target_", ""))
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{part} {target!r} cannot be imported ({error}): install what has it"
        ) from error
    if not (isinstance(kind, type) and is_kind(kind)):
        raise UserError(f"{target} is no {part}: the configuration is not one of this project")
    return kind(
        **{
            key: _make(part, value, is_kind) if isinstance(value, dict) else value
            for key, value in options.items()
            if key != "_target_"
        }
    )
