"""DBMSolver (arXiv 2605.05889): a single-step midpoint rule for DBIM's ODE."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from dbim_lightning.bridge import Schedule, combine, dbim_transition
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.dbim import boot
from dbim_lightning.samplers.ddbm import drifts
from dbim_lightning.samplers.grids import Grid, Karras, falling_times, times_at
from dbim_lightning.samplers.sampler import Denoise, Noise, Sampler, State

log = logging.getLogger(__name__)
Midpoint = Literal["log_rho", "time"]


@dataclass(frozen=True)
class DBMSolver(Sampler):
    """DBIM's boot, then steps of two calls each, of second order, then an Euler step of the ODE.

    Deterministic but for the boot. With n times NFE = 2n: an odd one makes a call fewer.

    Args:
        nfe: number of function evaluations asked for, at least 2.
        midpoint: in the middle of log rho (as published for DIODE) or of time (for Edges to
            Handbags).
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the n times, from its start, or t_max - 1e-4, to t_min; 0 follows.
    """

    nfe: int
    midpoint: Midpoint = "log_rho"
    clip_denoised: bool = True
    grid: Grid = Karras(7.0)  # noqa: RUF009 - frozen

    def __post_init__(self):
        if not isinstance(self.nfe, int) or self.nfe < 2:
            raise UserError(f"nfe={self.nfe}: use a whole number from 2, one call boots")
        if self.midpoint not in get_args(Midpoint):
            raise UserError(
                f"midpoint={self.midpoint} does not exist: choose {' or '.join(get_args(Midpoint))}"
            )
        if self.calls != self.nfe:
            log.warning(f"nfe={self.nfe}: DBMSolver makes 2n calls, here {self.calls}")

    @property
    def calls(self) -> int:
        """The number of function evaluations made."""
        return self.nfe // 2 * 2

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """The booted state, then those at each middle and end of a step; the last is at 0."""
        times = falling_times(self.grid, schedule, schedule.t_max - 1e-4, self.nfe // 2 - 1)
        (drift,) = drifts(schedule, times[-1:], 0.5)
        t, x, x_0_hat = boot(denoise, schedule, x_T, noise, times[0])
        yield State(t, x, x_0_hat)
        for s, t in pairwise(times):
            m = self._middle(schedule, s, t)
            at_s = denoise(x, s)
            x_m = dbim_transition(schedule, s, m)(x, at_s, x_T)
            yield State(m, x_m, at_s)
            at_m, weight = denoise(x_m, m), midpoint_weight(schedule, s, m, t)
            k, k_0, k_T, _ = dbim_transition(schedule, s, t)
            coefficients = (k, k_T, k_0 * (1 - weight), k_0 * weight)
            x = combine(coefficients, (x, x_T, at_s, at_m))
            yield State(t, x, at_m)
        x_0_hat = denoise(x, t)
        yield State(torch.zeros_like(t), x - t.item() * drift(x, x_0_hat, x_T), x_0_hat)

    def _middle(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        if self.midpoint == "time":
            return (s + t) / 2
        ell_m = (_ell(schedule, s) + _ell(schedule, t)) / 2
        return times_at(ell_m, schedule, lambda u: _ell(schedule, u))


def midpoint_weight(schedule: Schedule, s: Tensor, m: Tensor, t: Tensor) -> Tensor:
    """What x_0_hat(m) - x_0_hat(s) counts beside x_0_hat(s) in the step from s to t.

    x_0_hat is taken as linear in ell = -log rho, so that with r = rho_bar / rho, of which b / c is
    a multiple, the mean of ell - ell_s over the step is

        [(ell_t - ell_s) - 1 + r_s / r_t + (atan r_t - atan r_s) / r_t] / (1 - r_s / r_t)

    by the integral of (ell - ell_s) dr, where r^2 + 1 = rho_T^2 e^(2 ell).
    """
    r_s, r_t = (schedule.rho_bar(u) / schedule.rho(u) for u in (s, t))
    ell_s, ell_m, ell_t = (_ell(schedule, u) for u in (s, m, t))
    integral = (ell_t - ell_s) - 1 + r_s / r_t + (r_t.atan() - r_s.atan()) / r_t
    return integral / (1 - r_s / r_t) / (ell_m - ell_s)


def _ell(schedule: Schedule, t: Tensor) -> Tensor:
    return -schedule.rho(t).log()
