"""Exponential moving average of the weights."""

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Keeps ema = decay ema + (1 - decay) w, validates with it, and saves it as `state_dict`.

    Args:
        decay: in [0, 1).
        ramp: use min(decay, (1 + n) / (10 + n)) after n steps: short runs forget their start.
    """

    def __init__(self, decay: float, ramp: bool):
        super().__init__(multi_avg_fn=self._update, use_buffers=False)
        self.decay, self.ramp = decay, ramp

    def _update(self, averages: list[Tensor], weights: list[Tensor], _: Tensor) -> None:
        n = self._latest_update_step
        decay = min(self.decay, (1 + n) / (10 + n)) if self.ramp else self.decay
        torch._foreach_lerp_(averages, weights, 1 - decay)
