"""Pairs of a target and a source image, and the loaders that serve them."""

from dbim_lightning.data.datamodule import PairDataModule
from dbim_lightning.data.openmoji import OpenMoji
from dbim_lightning.data.packed import PackedPairs
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.paired_folder import PairedFolder
from dbim_lightning.data.restoration import Restoration
from dbim_lightning.data.subset import spread

__all__ = [
    "OpenMoji",
    "PackedPairs",
    "Pair",
    "PairDataModule",
    "PairedFolder",
    "Restoration",
    "spread",
]
