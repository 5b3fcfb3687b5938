"""The sampler of DDBM (arXiv 2309.16948, alg. 1): the baseline that DBIM is compared with."""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.estimator import Estimator, State, follow
from dbim_lightning.samplers.grids import Grid, Power, falling_times
from dbim_lightning.samplers.sampler import Denoise, Noise, OnStep

log = logging.getLogger(__name__)


class Drift(NamedTuple):
    """dx/dt = d x + d_0 (x_0_hat - x) + d_T (x_T - x) at time t.

    The differences are exact where their factors are large: towards t = 0 and towards t_max.
    """

    t: float
    d: float
    d_0: float
    d_T: float

    def __call__(self, x: Tensor, x_0: Tensor, x_T: Tensor) -> Tensor:
        slope = (x_0 - x).mul_(self.d_0)
        return slope.add_(x_T - x, alpha=self.d_T).add_(x, alpha=self.d)


class Step(NamedTuple):
    """A stochastic Euler step on `sde`, then a Heun step from `ode` to `end`, or Euler to 0."""

    sde: Drift | None
    ode: Drift
    end: Drift | None
    sde_dt: float
    sigma: float
    dt: float


class DDBM:
    """Stochastic Euler steps on the reverse SDE, Heun steps on the probability flow ODE.

    Each of n steps goes the first `churn_step_ratio` of its way with noise (one call) and the rest
    without (two calls, one in the last step, which ends at 0): NFE = 3n - 1, or 2n - 1 without
    noise. An NFE between two of these gives the nearer, of two equally near the lower.

    Args:
        nfe: number of function evaluations asked for, at least 2, or 1 without noise; afterwards
            the number made.
        churn_step_ratio: in [0, 1); 0 is deterministic.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the first n times, from t_max - 1e-4 to t_min; 0 follows.
    """

    def __init__(
        self,
        nfe: int,
        churn_step_ratio: float = 0.33,
        clip_denoised: bool = True,
        grid: Grid = Power(),  # noqa: B008 - frozen
    ):
        if not 0 <= churn_step_ratio < 1:
            raise UserError(f"churn_step_ratio={churn_step_ratio}: use a value in [0, 1)")
        per_step = 3 if churn_step_ratio > 0 else 2
        if not isinstance(nfe, int) or nfe < per_step - 1:
            raise UserError(f"nfe={nfe}: use a whole number from {per_step - 1}")
        self.num_steps = -(-nfe // per_step)
        self.nfe = per_step * self.num_steps - 1
        if self.nfe != nfe:
            log.warning(f"nfe={nfe}: DDBM makes {per_step}n - 1 calls, here {self.nfe}")
        self.churn_step_ratio, self.clip_denoised, self.grid = churn_step_ratio, clip_denoised, grid

    @torch.no_grad()
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
        """See `Sampler.sample`; returns the state at 0, clamped to [-1, 1].

        `on_step` receives the state after each part of a step.
        """
        steps = self.steps(schedule)
        calls = [drift.t for step in steps for drift in step[:3] if drift]
        options = {"clip": self.clip_denoised, "mask": mask, "cond": cond}
        estimate = Estimator(denoise, x_T, calls, keep=1, **options)
        return follow(states(steps, x_T, noise, estimate), estimate, on_step)

    def steps(self, schedule: Schedule) -> list[Step]:
        """The coefficients of all steps, in float64."""
        start = schedule.t_max - 1e-4
        times = falling_times(self.grid, schedule, start, self.num_steps - 1)
        after = torch.cat([times[1:], times.new_zeros(1)])
        sde_dt = self.churn_step_ratio * (after - times)
        t_hat = times + sde_dt
        sigma = (sde_dt.abs() * schedule.g2(times)).sqrt()
        sde = drifts(schedule, times, 1.0) if self.churn_step_ratio > 0 else [None] * len(times)
        ode = drifts(schedule, t_hat, 0.5)
        end = [*drifts(schedule, times[1:], 0.5), None]
        numbers = (sde_dt.tolist(), sigma.tolist(), (after - t_hat).tolist())
        return [Step(*step) for step in zip(sde, ode, end, *numbers, strict=True)]


def states(steps: list[Step], x_T: Tensor, noise: Noise, estimate: Estimator) -> Iterator[State]:
    """What the sampler goes through; the tensors are overwritten on the way on."""
    x = x_T.clone()
    for step in steps:
        if step.sde:
            eps, x_0 = noise(x), estimate(x)
            x.add_(step.sde(x, x_0, x_T), alpha=step.sde_dt).add_(eps, alpha=step.sigma)
            yield State(step.ode.t, x, x_0)
        x_0 = estimate(x)
        slope = step.ode(x, x_0, x_T)
        if step.end:
            ahead = x.add(slope, alpha=step.dt)
            x_0 = estimate(ahead)
            slope = slope.add_(step.end(ahead, x_0, x_T)).mul_(0.5)
        x.add_(slope, alpha=step.dt)
        yield State(step.end.t if step.end else 0.0, x, x_0)


def drifts(schedule: Schedule, t: Tensor, k: float) -> list[Drift]:
    """f x - g^2 (k grad log q(x_t | x_T) - grad log p(x_T | x_t)), at each t (DDBM, theorem 1).

    grad log q = -(x - a x_T - b x_0_hat) / c^2; grad log p = -(x - alpha_bar x_T) / (alpha
    rho_bar)^2; k is 1 for the SDE, 1/2 for the ODE.
    """
    a, b, c = schedule.bridge(t)
    q = k * schedule.g2(t) / c**2
    p = schedule.g2(t) / (schedule.alpha(t) * schedule.rho_bar(t)) ** 2
    d_0, d_T = -q * b, p * schedule.alpha_bar(t) - q * a
    columns = (t, schedule.f(t) + q - p + d_0 + d_T, d_0, d_T)
    return [Drift(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
