"""Judging samplers: samples, protocols, metrics, result rows and their summaries."""

from dbim_lightning.evaluation.evaluator import Evaluator, Outcome
from dbim_lightning.evaluation.protocol import Protocol
