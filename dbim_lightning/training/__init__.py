"""Training: the LightningModule and its callbacks."""

from dbim_lightning.training.callbacks import Checkpoints, ImagesPerSecond, Previews, Progress
from dbim_lightning.training.checkpoint import (
    SavedBridge,
    load_weights,
    newest_checkpoint,
    read_checkpoint,
    resumed_config,
)
from dbim_lightning.training.devices import best_precision
from dbim_lightning.training.ema import EMA
from dbim_lightning.training.loggers import make_loggers
from dbim_lightning.training.module import CONFIG_KEY, BridgeModule

__all__ = [
    "CONFIG_KEY",
    "EMA",
    "BridgeModule",
    "Checkpoints",
    "ImagesPerSecond",
    "Previews",
    "Progress",
    "SavedBridge",
    "best_precision",
    "load_weights",
    "make_loggers",
    "newest_checkpoint",
    "read_checkpoint",
    "resumed_config",
]
