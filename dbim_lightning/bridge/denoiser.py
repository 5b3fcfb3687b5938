"""The denoiser and its training objective, side by side so that they cannot drift apart."""

from typing import NamedTuple

from torch import Tensor, nn

from dbim_lightning.bridge.preconditioning import Preconditioning, Scalings
from dbim_lightning.bridge.schedules import Schedule


class BridgeLoss(NamedTuple):
    """Per image, (B,): the weighted error trained on, and the plain squared error of x_0."""

    weighted: Tensor
    error: Tensor


def _like(coefficient: Tensor, x: Tensor) -> Tensor:
    """(B,) float64 on the CPU -> (B, 1, 1, 1) of x's dtype, on x's device."""
    return coefficient.to(x.dtype).to(x.device, non_blocking=True).view(-1, 1, 1, 1)


class BridgeDenoiser(nn.Module):
    """D(x_t, t, x_T) = c_skip x_t + c_out F(c_in x_t, c_noise, x_T), an estimate of x_0.

    Images are (B, C, H, W) in [-1, 1]; times (B,) float64 on the CPU, where the coefficients are
    computed in float64 before they are cast to the images' dtype.

    Args:
        network: F(x, c_noise, x_T, **cond) -> (B, C, H, W), with c_noise (B,) float32.
        schedule: gives a, b, c.
        preconditioning: gives c_skip, c_out, c_in, c_noise.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, preconditioning: Preconditioning):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.preconditioning = preconditioning

    def forward(self, x_t: Tensor, t: Tensor, x_T: Tensor, **cond: Tensor) -> Tensor:
        """Estimates x_0 from x_t at time t."""
        return self._denoise(x_t, self.preconditioning(self.schedule, t), x_T, **cond)

    def _denoise(self, x_t: Tensor, scalings: Scalings, x_T: Tensor, **cond: Tensor) -> Tensor:
        c_skip, c_out, c_in = (_like(scaling, x_t) for scaling in scalings[:3])
        c_noise = scalings.c_noise.float().to(x_t.device, non_blocking=True)
        return c_skip * x_t + c_out * self.network(c_in * x_t, c_noise, x_T, **cond)

    def loss(
        self,
        x_0: Tensor,
        x_T: Tensor,
        t: Tensor,
        eps: Tensor,
        *,
        mask: Tensor | None = None,
        **cond: Tensor,
    ) -> BridgeLoss:
        """|D(x_t, t, x_T) - x_0|^2 / c_out(t)^2, mean over pixels (DDBM, sec. 4).

        Args:
            x_0, x_T: target and source.
            t: times (B,) float64 on the CPU; those beyond t_max count as t_max.
            eps: the standard normal noise in x_t, of the shape of x_0.
            mask: 1 where the error counts, broadcastable to x_0; the mean is still over all pixels.
            cond: what else the network takes, such as class labels y.
        """
        t = t.clamp(max=self.schedule.t_max)
        a, b, c = (_like(coefficient, x_0) for coefficient in self.schedule.bridge(t))
        scalings = self.preconditioning(self.schedule, t)
        x_0_hat = self._denoise(a * x_T + b * x_0 + c * eps, scalings, x_T, **cond)
        error = (x_0_hat - x_0).square()
        error = (error if mask is None else mask * error).mean(dim=(1, 2, 3))
        return BridgeLoss(error / _like(scalings.c_out, error).flatten() ** 2, error)
