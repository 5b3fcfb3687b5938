"""Prior guidance (PG, and FMPG by frequency; arXiv 2606.03119): away from a worse estimate."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dbim_lightning.bridge import Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.sampler import Denoise, Noise, Sampler, State


@dataclass(frozen=True)
class PriorGuidance(Sampler):
    """Any sampler, with two calls for each of its estimates:

        D(H(x_t)) + w (D(x_t) - D(H(x_t))),   H(x_t) = x_t + degradation c_t n,   n ~ N(0, I).

    With `weight_low` (FMPG) the low band of the difference, means over 3 x 3 pixels, is weighed by
    a parabola in t from 1 at both ends to `weight_low` half-way, and the rest by one from `weight`
    at both ends to 1. The paper's weights, degradation and bands are not known.

    Args:
        nfe: number of function evaluations asked for, of which the sampler gets half.
        sampler: any; its own nfe is replaced.
        weight: w, from 1; at 1 the sampler's estimates stay what they are.
        weight_low: of the low band half-way, or None: w everywhere.
        degradation: what H adds, in the noise c_t of the bridge, positive.
    """

    nfe: int
    sampler: Sampler
    weight: float = 1.5
    weight_low: float | None = None
    degradation: float = 0.5

    def __post_init__(self):
        for name in ("weight", "weight_low"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 100:
                raise UserError(
                    f"{name}={value} of the guidance: use 1 or more, up to 100, such as 1.5"
                )
        if not 0 < self.degradation <= 100:
            raise UserError(
                f"degradation={self.degradation}: use a positive number, up to 100, such as 0.5"
            )
        if not isinstance(self.nfe, int) or self.nfe < 4:
            raise UserError(f"nfe={self.nfe} with guidance: use 4 or more, an estimate takes two")
        object.__setattr__(self, "sampler", replace(self.sampler, nfe=self.nfe // 2))
        object.__setattr__(self, "clip_denoised", self.sampler.clip_denoised)

    @property
    def calls(self) -> int:
        """Two for each of the sampler's."""
        return 2 * self.sampler.calls

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """Those of the sampler."""

        def guided(x: Tensor, t: Tensor, spare: Tensor | None = None) -> Tensor:
            c = schedule.coefficients(t).c.item()
            worse = denoise(x + self.degradation * c * noise(x_T), t, spare)
            x_0_hat = self._away_from(worse, denoise(x, t), schedule, t)
            return x_0_hat.clamp(-1, 1) if self.clip_denoised else x_0_hat

        yield from self.sampler.states(guided, schedule, x_T, noise)

    def _away_from(self, worse: Tensor, better: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        if self.weight_low is None:
            return torch.lerp(worse, better, self.weight)
        u = ((t - schedule.t_min) / (schedule.t_max - schedule.t_min)).item()
        middle = 4 * u * (1 - u)
        low, high = 1 + (self.weight_low - 1) * middle, self.weight + (1 - self.weight) * middle
        difference = better - worse
        padded = F.pad(difference, (1, 1, 1, 1), mode="replicate")
        return worse + high * difference + (low - high) * F.avg_pool2d(padded, 3, stride=1)
