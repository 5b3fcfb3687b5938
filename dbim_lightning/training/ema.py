"""Exponential moving average of the weights."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from dbim_lightning.errors import UserError


class EMA(WeightAveraging):
    """Keeps ema = decay ema + (1 - decay) w, validates with it, and saves it as `state_dict`.

    Args:
        decay: in [0, 1).
        ramp: use min(decay, (1 + n) / (10 + n)) after n steps: short runs forget their start.

    Raises:
        UserError: a decay out of range.
    """

    def __init__(self, decay: float, ramp: bool):
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay} of the EMA: use a value in [0, 1)")
        super().__init__(multi_avg_fn=self._update, use_buffers=False)
        self.decay, self.ramp = decay, ramp
        self._is_swapped = False

    def _update(self, averages: list[Tensor], weights: list[Tensor], _: Tensor) -> None:
        n = self._latest_update_step
        decay = min(self.decay, (1 + n) / (10 + n)) if self.ramp else self.decay
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._is_swapped = not self._is_swapped

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Puts the training's weights back where validation failed, for a last checkpoint."""
        if self._is_swapped:
            self._swap_models(pl_module)
