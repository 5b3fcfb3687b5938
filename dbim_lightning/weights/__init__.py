"""Weights with the configuration that rebuilds their bridge: reading, writing, importing."""

from dbim_lightning.weights.build import build_denoiser
from dbim_lightning.weights.files import (
    CONFIG_KEY,
    SavedBridge,
    load_weights,
    read_bridge,
    write_bridge,
)

__all__ = [
    "CONFIG_KEY",
    "SavedBridge",
    "build_denoiser",
    "load_weights",
    "read_bridge",
    "write_bridge",
]
