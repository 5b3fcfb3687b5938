"""The sampler of ECSI (arXiv 2410.21553): Euler steps on SDEs that share the bridge's marginals."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from dbim_lightning.bridge import (
    Schedule,
    Transition,
    dbim_transition,
    require_eta,
    require_plain_source,
)
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.grids import Grid, Karras, times_from_x_T
from dbim_lightning.samplers.sampler import Denoise, Noise, Sampler, State, unheld


@dataclass(frozen=True)
class ECSI(Sampler):
    """From x_T itself, without a booting call; the last two steps add no noise and are DBIM's.

    Args:
        nfe: number of function evaluations and of steps, at least 3.
        eta: stochasticity from 0; as published 0.3 for DDBM's VP weights, and 0.8 to 1 for bridges
            on a line.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the nfe + 1 times, from its start, or t_max - 1e-4, to t_min. The state at the
            first is x_T.
    """

    nfe: int
    eta: float = 0.3
    clip_denoised: bool = True
    grid: Grid = Karras(0.6)  # noqa: RUF009 - frozen

    def __post_init__(self):
        if not isinstance(self.nfe, int) or self.nfe < 3:
            raise UserError(f"nfe={self.nfe}: use a whole number from 3, the last two add no noise")
        require_eta(self.eta, "exponential")

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """The state after each step; the last is at t_min."""
        require_plain_source(schedule)
        times = times_from_x_T(self.grid, schedule, self.nfe)
        noisy = euler_transition(schedule, times[:-3], times[1:-2], self.eta)
        exact = dbim_transition(schedule, times[-3:-1], times[-2:])
        x, x_0_hat = x_T.clone(), None
        steps = chain(noisy.each(), exact.each())
        for s, t, step in zip(times, times[1:], steps, strict=False):
            x_0_hat = denoise(x, s, x_0_hat)
            x = step(x, x_0_hat, x_T, noise(x_T) if step.omega else None, out=unheld(x))
            yield State(t, x, x_0_hat)


def euler_transition(schedule: Schedule, s: Tensor, t: Tensor, eta: float) -> Transition:
    """The Euler step from s to t < s of

        dx = (a' x_T + b' x_0_hat + (c' + e / c) z) dt + sqrt(2 e) dw,   backwards in time,

    with z = (x - a x_T - b x_0_hat) / c, e = -eta c^2 dlambda/dt and derivatives in t, all at s.
    """
    (a, b, c), (da, db, dc) = schedule.coefficients(s), schedule.rates(s)
    e = eta * (c * dc - c**2 * db / b)
    dt, slope = t - s, (dc + e / c) / c
    return Transition(
        k=1 + dt * slope,
        k_0=dt * (db - slope * b),
        k_T=dt * (da - slope * a),
        omega=(-2 * e * dt).clamp(min=0).sqrt(),
    )
