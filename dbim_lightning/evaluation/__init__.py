"""Judging samplers: generation, protocols, metrics, result rows and their summaries."""

from dbim_lightning.evaluation.backbones import DINOv2
from dbim_lightning.evaluation.evaluator import Evaluator
from dbim_lightning.evaluation.features import EfficientNetLite0
from dbim_lightning.evaluation.inception import Inception
from dbim_lightning.evaluation.protocol import Protocol
