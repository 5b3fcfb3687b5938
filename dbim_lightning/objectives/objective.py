"""What every objective is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser

Batch = Mapping[str, Any]
"""Of pairs: x_0 and x_T (B, C, H, W) in [-1, 1], and perhaps label (B,) and mask (B, 1, H, W); in
training "seed" (B,), on the CPU, of each image's random numbers in this step."""

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

    def draws(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Uniform places u (B,) in [0, 1), float64 on the CPU, and standard normal noise like x_0.

        An image with a seed has its own, in whatever batch, process or run it is trained on; else
        they are torch's next random numbers.
        """
        x_0 = batch["x_0"]
        if "seed" not in batch:
            return torch.rand(len(x_0), dtype=torch.float64), torch.randn_like(x_0)
        seeds = batch["seed"].tolist()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        u = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
        if x_0.device.type != "cpu":
            generators = [torch.Generator(x_0.device).manual_seed(seed) for seed in seeds]
        eps = torch.empty_like(x_0)
        for noise, generator in zip(eps, generators, strict=True):
            noise.normal_(generator=generator)
        return u, eps

    def __deepcopy__(self, memo: dict) -> "Objective":
        return self
