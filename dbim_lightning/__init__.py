"""Diffusion bridges: train them, and sample them in few network calls."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dbim_lightning.bridge import (
        BridgeDenoiser,
        BrownianSchedule,
        DDBMPreconditioning,
        I2SBPreconditioning,
        I2SBSchedule,
        VESchedule,
        VPSchedule,
    )
    from dbim_lightning.errors import UserError
    from dbim_lightning.networks import ADMUNet
    from dbim_lightning.objectives import BridgeMatching
    from dbim_lightning.samplers import DBIM, DDBM, ECSI, DBMSolver, ImageNoise, Sampler

__version__ = "0.1.0"
__all__ = [
    "DBIM",
    "DDBM",
    "ECSI",
    "ADMUNet",
    "BridgeDenoiser",
    "BridgeMatching",
    "BrownianSchedule",
    "DBMSolver",
    "DDBMPreconditioning",
    "I2SBPreconditioning",
    "I2SBSchedule",
    "ImageNoise",
    "UserError",
    "VESchedule",
    "VPSchedule",
    "load",
    "load_sampler",
]


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported from its room when it is first used."""
    if name in __all__:
        for room in ("errors", "bridge", "networks", "samplers", "objectives"):
            module = import_module(f"{__name__}.{room}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    path: "str | Path",
    device: str = "cpu",
    precision: str = "auto",
    trusted: "Collection[str]" = (),
) -> "BridgeDenoiser":
    """The denoiser in a weights file or a training checkpoint (EMA weights), ready to sample.

    Args:
        path: or the name of a bridge that ships with the package, or hf://OWNER/NAME[@REVISION].
        precision: of the network: auto (the fastest on the device), float32, bfloat16, float16.
        trusted: modules of your own that the file may name.

    Raises:
        UserError: no such file, not a whole one, not one that says how to rebuild its network, or
            one that names other classes than this project's; a device or precision that does
            not exist.
    """
    # So that the samplers alone need torch alone.
    from dbim_lightning.bridge.precision import device_named, precision_on  # noqa: PLC0415
    from dbim_lightning.weights import local_file, read_denoiser, restored  # noqa: PLC0415

    denoiser = restored(read_denoiser(local_file(path), trusted=trusted)).to(device_named(device))
    denoiser.precision = precision_on(denoiser.device, precision)
    return denoiser


def load_sampler(path: "str | Path | None", nfe: int) -> "Sampler":
    """The sampler that a weights file carries; of several, that tuned for the nearest NFE.

    Args:
        path: of the file, or what else `load` takes.

    Raises:
        UserError: no file, not a whole one, one that carries no sampler, or one whose samplers are
            not of this project's classes.
    """
    from dbim_lightning.errors import UserError  # noqa: PLC0415
    from dbim_lightning.weights import (  # noqa: PLC0415
        local_file,
        read_samplers,
        recommended_sampler,
    )

    if path is None:
        raise UserError("a recommended sampler comes out of a weights file: give weights=FILE")
    if not (isinstance(nfe, int) and nfe > 0):
        raise UserError(f"nfe={nfe}: use a whole number from 2")
    file = local_file(path)
    return recommended_sampler(file, read_samplers(file), nfe)
