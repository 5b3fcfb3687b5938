"""The denoiser: a network, the bridge that it belongs to, and how one sees the other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dbim_lightning.bridge.combine import like
from dbim_lightning.bridge.precision import precision_on, running_in
from dbim_lightning.bridge.preconditioning import Preconditioning, Scalings
from dbim_lightning.bridge.schedules import Schedule


class BridgeDenoiser(nn.Module):
    """D(x_t, t, x_T) = c_skip x_t + c_out F(c_in x_t, c_noise, x_T), an estimate of x_0.

    Images are (B, C, H, W) in [-1, 1]; times (B,) float64 on the CPU, where the coefficients are
    computed in float64 before they are cast to the images' dtype.

    Args:
        network: F(x, c_noise, x_T, **cond) -> (B, C, H, W), with c_noise (B,) float32.
        schedule: gives a, b, c.
        preconditioning: gives c_skip, c_out, c_in, c_noise.

    Attributes:
        precision: that the network runs in: float32, bfloat16 or float16; no file holds it.
    """

    precision = "float32"

    def __init__(self, network: nn.Module, schedule: Schedule, preconditioning: Preconditioning):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.preconditioning = preconditioning

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @contextmanager
    def in_precision(self, name: str) -> Iterator[None]:
        """Within it the network runs in another precision, which may be "auto"."""
        before, self.precision = self.precision, precision_on(self.device, name)
        try:
            yield
        finally:
            self.precision = before

    def forward(self, x_t: Tensor, t: Tensor, x_T: Tensor, **cond: Tensor) -> Tensor:
        """Estimates x_0 from x_t at time t."""
        scalings = self.preconditioning(self.schedule, t, self.schedule.coefficients(t))
        return self.estimate(x_t, scalings, x_T, **cond)

    def estimate(self, x_t: Tensor, scalings: Scalings, x_T: Tensor, **cond: Tensor) -> Tensor:
        """The same where the scalings at t are at hand."""
        c_skip, c_out, c_in = (like(scaling, x_t) for scaling in scalings[:3])
        c_noise = scalings.c_noise.float().to(x_t.device, non_blocking=True)
        with running_in(self.precision, x_t.device):
            output = self.network(c_in * x_t, c_noise, x_T, **cond)
        return c_skip * x_t + c_out * output


def conditions(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the network takes of a batch of pairs beside x_T, by name: class labels y."""
    return {"y": batch["label"]} if "label" in batch else {}
