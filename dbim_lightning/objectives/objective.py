"""What every objective is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser

Batch = Mapping[str, Any]
"""Of pairs: x_0 and x_T (B, C, H, W) in [-1, 1], and perhaps label (B,) and mask (B, 1, H, W)."""

Values = dict[str, Tensor]
"""What is logged of each image, (B,) each: "loss", which is minimised, and others."""


class Objective(ABC):
    """Configured in conf/objective. It is no nn.Module, and copies of the module share it: neither
    optimiser nor EMA nor checkpoints see a network that it may hold."""

    @abstractmethod
    def __call__(self, denoiser: BridgeDenoiser, batch: Batch, step: int) -> Values:
        """Of one training batch, with torch's random numbers, and as "u" the place of each image's
        time in the range of training times, in [0, 1]."""

    @abstractmethod
    def at(self, denoiser: BridgeDenoiser, batch: Batch, u: Tensor, eps: Tensor) -> Values:
        """Of a batch at given places u, (B,) float64 on the CPU, with given noise: validation."""

    def require(self, pair: Batch) -> None:
        """Refuses a pair of the data, without the batch's dimension, that lacks what is needed.

        Raises:
            UserError: as said.
        """

    def __deepcopy__(self, memo: dict) -> "Objective":
        return self
