"""Pairs of a target and a source image, and the loaders that serve them."""

from dbim_lightning.data.datamodule import PairDataModule
from dbim_lightning.data.openmoji import OpenMoji
from dbim_lightning.data.packed import PackedPairs
from dbim_lightning.data.pair import Pair

__all__ = ["OpenMoji", "PackedPairs", "Pair", "PairDataModule"]
