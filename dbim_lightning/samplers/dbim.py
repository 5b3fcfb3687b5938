"""Diffusion bridge implicit models (DBIM, arXiv 2405.15885)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dbim_lightning.bridge import Form, Schedule, combine, dbim_transition, require_eta
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.grids import Grid, Uniform, falling_times
from dbim_lightning.samplers.sampler import Denoise, Noise, Sampler, State, unheld


@dataclass(frozen=True)
class DBIM(Sampler):
    """Samples a trained bridge in `nfe` network calls, without extra training.

    The first call is the booting step: from x_T at t_max to a noisy state just below it. Its noise
    is the only randomness at eta = 0, and so the latent code of the sample.

    Args:
        nfe: number of function evaluations, at least 2.
        eta: stochasticity from 0; 0 is deterministic, 1 the Markovian bridge, more has more noise
            than it and keeps its marginals all the same.
        order: 1, or 2 or 3: multistep, first order in the first and last step.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the nfe times of the states, from its start, or t_max - 1e-3, to t_min.
        omega: the form of the noise in a step (`dbim_transition`): published, which has eta up to 1
            and is noisy at order 1 alone, exponential, or auto: published for eta up to 1.
    """

    nfe: int
    eta: float = 0.0
    order: int = 1
    clip_denoised: bool = True
    grid: Grid = Uniform()  # noqa: RUF009 - frozen
    omega: Form | Literal["auto"] = "auto"

    def __post_init__(self):
        if not isinstance(self.nfe, int) or self.nfe < 2:
            raise UserError(
                f"nfe={self.nfe}: use a whole number from 2, one call boots and one steps"
            )
        if type(self.order) is not int or self.order not in (1, 2, 3):
            raise UserError(f"order={self.order}: use 1, 2 or 3")
        require_eta(self.eta, self.form)
        if self.form == "published" and self.eta > 0 and self.order > 1:
            raise UserError(
                f"eta={self.eta} with order={self.order} in the published form of omega: use eta=0 "
                "or order=1, or omega=exponential"
            )

    @property
    def form(self) -> Form:
        """The form of omega that is in force."""
        if self.omega != "auto":
            return self.omega
        return "published" if self.eta <= 1 else "exponential"

    def times(self, schedule: Schedule) -> Tensor:
        """Of its nfe states, the booted one first; float64 (nfe,).

        Raises:
            UserError: times that do not fall, or two that are the same one to the schedule.
        """
        times = falling_times(self.grid, schedule, schedule.t_max - 1e-3, self.nfe - 1)
        if not (schedule.snap(times).diff() < 0).all():
            raise UserError(
                f"nfe={self.nfe} with {self.grid}: two times fall on one index of the "
                f"{type(schedule).__name__}: use fewer NFE, or the uniform grid"
            )
        return times

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """The booted state, then that of each step; the last is at t_min.

        The last step adds no noise, though it removes the variance.
        """
        times = self.times(schedule)
        t, x, x_0_hat = boot(denoise, schedule, x_T, noise, times[0])
        yield State(t, x, x_0_hat)
        h = schedule.lambda_(times).diff().tolist()
        steps = dbim_transition(schedule, times[:-1], times[1:], self.eta, self.form)
        estimates: list[Tensor] = []
        for n, (s, t, step) in enumerate(zip(times, times[1:], steps.each(), strict=False)):
            oldest = estimates.pop() if len(estimates) == self.order else None
            x_0_hat = denoise(x, s, oldest)
            estimates.insert(0, x_0_hat)
            is_last = n == self.nfe - 2
            eps = None if is_last or self.eta == 0 else noise(x_T)
            if is_last or len(estimates) == 1:
                x = step(x, x_0_hat, x_T, eps, out=unheld(x))
            else:
                weights = multistep(h[n::-1][: len(estimates)], self.eta)
                terms = [(step.k, x), (step.k_T, x_T)]
                terms += [(w * step.k_0, x_0) for w, x_0 in zip(weights, estimates, strict=True)]
                terms += [] if eps is None else [(step.omega, eps)]
                coefficients, images = zip(*terms, strict=True)
                x = combine(coefficients, images, out=unheld(x))
            yield State(t, x, x_0_hat)


def boot(denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise, t: Tensor) -> State:
    """From x_T at t_max to the state at t < t_max, with the booting noise in it (DBIM, sec. 3).

    That of a noised source is in the first state already.
    """
    eps = noise(x_T)
    x_0_hat = denoise(noised_source(schedule, x_T, eps), schedule.T)
    return State(t, schedule.q_sample(x_0_hat, x_T, t, eps), x_0_hat)


def noised_source(schedule: Schedule, x_T: Tensor, eps: Tensor) -> Tensor:
    """The state at t_max."""
    return x_T + schedule.source_noise * eps if schedule.source_noise else x_T


def multistep(h: list[float], eta: float = 0.0) -> list[float]:
    """What weights the estimates of x_0 have in a step of order 2 or 3 (DBIM, high order).

    In place of x_0_hat(s) stands the mean over the step, weighted by e^(kappa lambda) with
    kappa = 1 + eta, of the Taylor polynomial x_0_hat(s) + D1 (lambda - lambda_s)
    + D2 (lambda - lambda_s)^2 / 2, with finite differences D1, D2. Published for eta = 0; for
    eta > 0 it is the solution of the SDE of the exponential form (`dbim_transition`).

    Args:
        h: lambda_t - lambda_s, lambda_s - lambda_u_1(, lambda_u_1 - lambda_u_2), for the estimates
            at s and at the times u_1(, u_2) before it.
    """
    kappa = 1 + eta
    phi_1 = 1 - math.exp(-kappa * h[0])
    phi_2 = (math.exp(-kappa * h[0]) + kappa * h[0] - 1) / kappa
    # The mean is x_0_hat(s) + p D1 + q D2.
    p, q = phi_2 / phi_1, (h[0] ** 2 / 2 - phi_2 / kappa) / phi_1
    if len(h) == 2:
        return [1 + p / h[1], -p / h[1]]
    h_1, h_2 = h[1], h[2]
    slope_1 = (p * (2 * h_1 + h_2) + 2 * q) / (h_1 + h_2) / h_1  # of x_0_hat(s) - x_0_hat(u_1)
    slope_2 = -(p * h_1 + 2 * q) / (h_1 + h_2) / h_2  # of x_0_hat(u_1) - x_0_hat(u_2)
    return [1 + slope_1, slope_2 - slope_1, -slope_2]
