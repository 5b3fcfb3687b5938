"""The sampler of DDBM (arXiv 2309.16948, alg. 1): the baseline that DBIM is compared with."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge import Schedule, require_plain_source
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.grids import Grid, Karras, times_from_x_T
from dbim_lightning.samplers.sampler import Denoise, Noise, Sampler, State, unheld

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DDBM(Sampler):
    """Stochastic Euler steps on the reverse SDE, Heun steps on the probability flow ODE.

    Each of n steps goes the first `churn_step_ratio` of its way with noise (one call) and the rest
    without (two calls, one in the last step, which ends at 0): NFE = 3n - 1, or 2n - 1 without
    noise. An NFE between two of these gives the nearer, of two equally near the lower.

    Args:
        nfe: number of function evaluations asked for, at least 2, or 1 without noise.
        churn_step_ratio: in [0, 1); 0 is deterministic.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the first n times, from t_max - 1e-4 to t_min; 0 follows.
    """

    nfe: int
    churn_step_ratio: float = 0.33
    clip_denoised: bool = True
    grid: Grid = Karras()  # noqa: RUF009 - frozen

    def __post_init__(self):
        if not 0 <= self.churn_step_ratio < 1:
            raise UserError(f"churn_step_ratio={self.churn_step_ratio}: use a value in [0, 1)")
        if not isinstance(self.nfe, int) or self.nfe < self.calls_per_step - 1:
            raise UserError(f"nfe={self.nfe}: use a whole number from {self.calls_per_step - 1}")
        if self.calls != self.nfe:
            log.warning(
                f"nfe={self.nfe}: DDBM makes {self.calls_per_step}n - 1 calls, here {self.calls}"
            )

    @property
    def calls_per_step(self) -> int:
        """3, or 2 without noise; the last step makes one fewer."""
        return 3 if self.churn_step_ratio > 0 else 2

    @property
    def num_steps(self) -> int:
        """n, the number of steps."""
        return math.ceil(self.nfe / self.calls_per_step)

    @property
    def calls(self) -> int:
        """The number of function evaluations made."""
        return self.calls_per_step * self.num_steps - 1

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """The states after each part of a step; the last is at 0."""
        times = times_from_x_T(self.grid, schedule, self.num_steps - 1)
        ends = torch.cat([times[1:], times.new_zeros(1)])
        middles = times + self.churn_step_ratio * (ends - times)
        sigmas = ((times - middles) * schedule.g2(times)).sqrt().tolist()
        sde, ode = drifts(schedule, times, 1.0), drifts(schedule, middles, 0.5)
        ode_at_end = drifts(schedule, times[1:], 0.5)
        x, x_0_hat = x_T.clone(), None
        for n, (s, middle, t) in enumerate(zip(times, middles, ends, strict=True)):
            if self.churn_step_ratio > 0:
                eps, x_0_hat = noise(x_T), denoise(x, s, x_0_hat)
                slope = sde[n](x, x_0_hat, x_T)
                x = torch.add(x, slope, alpha=(middle - s).item(), out=unheld(x))
                x.add_(eps, alpha=sigmas[n])
                yield State(middle, x, x_0_hat)
            dt = (t - middle).item()
            x_0_hat = denoise(x, middle, x_0_hat)
            slope = ode[n](x, x_0_hat, x_T)
            if t > 0:
                ahead = x.add(slope, alpha=dt)
                x_0_hat = denoise(ahead, t, x_0_hat)
                slope = slope.add_(ode_at_end[n](ahead, x_0_hat, x_T)).mul_(0.5)
            x = torch.add(x, slope, alpha=dt, out=unheld(x))
            yield State(t, x, x_0_hat)


class Drift(NamedTuple):
    """dx/dt = d x + d_0 (x_0_hat - x) + d_T (x_T - x).

    The differences are exact where their factors are large: towards t = 0 and towards t_max.
    """

    d: float
    d_0: float
    d_T: float

    def __call__(self, x: Tensor, x_0_hat: Tensor, x_T: Tensor) -> Tensor:
        slope = (x_0_hat - x).mul_(self.d_0)
        return slope.add_(x_T - x, alpha=self.d_T).add_(x, alpha=self.d)


def drifts(schedule: Schedule, t: Tensor, k: float) -> list[Drift]:
    """f x - g^2 (k grad log q(x_t | x_T) - grad log p(x_T | x_t)), at each t (DDBM, theorem 1).

    grad log q = -(x - a x_T - b x_0_hat) / c^2; grad log p = -(x - alpha_bar x_T) / (alpha
    rho_bar)^2; k is 1 for the SDE, 1/2 for the ODE.

    Raises:
        UserError: a noised source, of whose bridge this is not the drift.
    """
    require_plain_source(schedule)
    (a, b, c), g2 = schedule.coefficients(t), schedule.g2(t)
    q = k * g2 / c**2
    p = g2 / (schedule.alpha(t) * schedule.rho_bar(t)) ** 2
    d_0, d_T = -q * b, p * schedule.alpha_bar(t) - q * a
    d = schedule.f(t) + q - p + d_0 + d_T
    return list(map(Drift, d.tolist(), d_0.tolist(), d_T.tolist()))
