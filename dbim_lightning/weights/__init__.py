"""Weights with the configuration that rebuilds their denoiser: reading, writing, importing."""

from dbim_lightning.weights.build import build_denoiser, restored
from dbim_lightning.weights.files import (
    CONFIG_KEY,
    SavedDenoiser,
    load_weights,
    newest_checkpoint,
    read_denoiser,
    write_denoiser,
)

__all__ = [
    "CONFIG_KEY",
    "SavedDenoiser",
    "build_denoiser",
    "load_weights",
    "newest_checkpoint",
    "read_denoiser",
    "restored",
    "write_denoiser",
]
