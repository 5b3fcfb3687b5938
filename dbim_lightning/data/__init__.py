"""Pairs of a target and a source image."""

from dbim_lightning.data.openmoji import OpenMoji
from dbim_lightning.data.packed import PackedPairs
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.paired_folder import PairedFolder
from dbim_lightning.data.restoration import Restoration
from dbim_lightning.data.subset import spread
