"""Evaluation: sampling, metrics, and reports of quality against NFE."""

from dbim_lightning.evaluation.evaluator import Evaluator
from dbim_lightning.evaluation.features import EfficientNetLite0

__all__ = ["EfficientNetLite0", "Evaluator"]
