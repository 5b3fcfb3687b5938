"""Training: the LightningModule and its callbacks."""

from dbim_lightning.training.callbacks import Checkpoints, ImagesPerSecond, Previews, Progress
from dbim_lightning.training.checkpoint import load_initial, newest_checkpoint, resumed_config
from dbim_lightning.training.devices import best_precision
from dbim_lightning.training.ema import EMA
from dbim_lightning.training.evaluations import Evaluations, make_evaluations
from dbim_lightning.training.loggers import make_loggers
from dbim_lightning.training.module import BridgeModule

__all__ = [
    "EMA",
    "BridgeModule",
    "Checkpoints",
    "Evaluations",
    "ImagesPerSecond",
    "Previews",
    "Progress",
    "best_precision",
    "load_initial",
    "make_evaluations",
    "make_loggers",
    "newest_checkpoint",
    "resumed_config",
]
