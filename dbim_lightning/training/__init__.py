"""Training: the LightningModule, its data, and its callbacks."""

from dbim_lightning.training.callbacks import ImagesPerSecond, Previews, Progress
from dbim_lightning.training.checkpoint import read_initial, require_resumable
from dbim_lightning.training.checkpoints import Checkpoints, WholeFiles
from dbim_lightning.training.datamodule import PairDataModule
from dbim_lightning.training.devices import device_of, trainer_precision
from dbim_lightning.training.ema import EMA
from dbim_lightning.training.evaluations import Evaluations
from dbim_lightning.training.loggers import make_loggers
from dbim_lightning.training.module import BridgeModule
from dbim_lightning.training.stops import Stops, TimeIsUp, leave, time_limit
