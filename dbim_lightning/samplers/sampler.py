"""The one signature that every sampler has."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule

Denoise = Callable[..., Tensor]
"""denoise(x_t, t, x_T, **cond) -> x_0_hat, with t (B,) float64 on the CPU.

It must not keep x_t, which the sampler overwrites.
"""

Noise = Callable[[Tensor], Tensor]
"""noise(x) -> the next standard normal draw of x's shape, dtype and device."""

OnStep = Callable[[int, float, Tensor, Tensor], None]
"""on_step(step, t, x_t, x_0_hat), called with each state on its device, and the estimate before it.

The tensors are its own to keep.
"""


class Sampler(Protocol):
    """Carries sources to targets: x_T -> x_0."""

    nfe: int

    def sample(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x_T: Tensor,
        noise: Noise,
        *,
        mask: Tensor | None = None,
        on_step: OnStep | None = None,
        **cond: Tensor,
    ) -> Tensor:
        """Samples targets.

        Args:
            denoise: estimates x_0; a `BridgeDenoiser` or any callable like it.
            schedule: the bridge that the denoiser was trained on.
            x_T: sources (B, C, H, W) in [-1, 1]; the state keeps their dtype and device.
            noise: gives every random number; `ImageNoise` makes it depend on the image alone.
            mask: 1 in the hole, 0 where x_T is known, broadcastable to x_T.
            on_step: receives the trajectory as it comes.
            cond: passed on to `denoise`.

        Returns:
            (B, C, H, W) in [-1, 1].

        Raises:
            UserError: bad input, before any network call, or an estimate that is not finite, after
                the last: the device is read at the beginning and the end, not in between.
        """
        ...
