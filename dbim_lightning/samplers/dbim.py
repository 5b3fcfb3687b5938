"""Diffusion bridge implicit models (DBIM, arXiv 2405.15885)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from dbim_lightning.bridge import Schedule, Transition, combine, dbim_transition
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
        eta: stochasticity in [0, 1]; 0 is deterministic, 1 the Markovian bridge.
        order: 1, or at eta = 0 also 2 or 3: multistep, first order in the first and last step.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: places the nfe times of the states, from t_max - 1e-3 to t_min.
    """

    nfe: int
    eta: float = 0.0
    order: int = 1
    clip_denoised: bool = True
    grid: Grid = Uniform()  # noqa: RUF009 - frozen

    def __post_init__(self):
        if not isinstance(self.nfe, int) or self.nfe < 2:
            raise UserError(
                f"nfe={self.nfe}: use a whole number from 2, one call boots and one steps"
            )
        if not 0 <= self.eta <= 1:
            raise UserError(f"eta={self.eta}: use a value in [0, 1]")
        if self.order not in (1, 2, 3):
            raise UserError(f"order={self.order}: use 1, 2 or 3")
        if self.eta > 0 and self.order > 1:
            raise UserError(
                f"eta={self.eta} with order={self.order}: use eta=0 for order 2 or 3, or order=1"
            )

    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """The booted state, then that of each step; the last is at t_min.

        The last step adds no noise, though it removes the variance.

        Raises:
            UserError: two times that are the same one to the schedule.
        """
        times = falling_times(self.grid, schedule, schedule.t_max - 1e-3, self.nfe - 1)
        if not (schedule.snap(times).diff() < 0).all():
            raise UserError(
                f"nfe={self.nfe} with {self.grid}: two times fall on one index of the "
                f"{type(schedule).__name__}: use fewer NFE, or the uniform grid"
            )
        t, x, x_0_hat = boot(denoise, schedule, x_T, noise, times[0])
        yield State(t, x, x_0_hat)
        h = schedule.lambda_(times).diff().tolist()
        steps = dbim_transition(schedule, times[:-1], times[1:], self.eta)
        estimates: list[Tensor] = []
        for n, (s, t, step) in enumerate(zip(times, times[1:], steps.each(), strict=False)):
            oldest = estimates.pop() if len(estimates) == self.order else None
            x_0_hat = denoise(x, s, oldest)
            estimates.insert(0, x_0_hat)
            is_last = n == self.nfe - 2
            if is_last or len(estimates) == 1:
                noiseless = is_last or self.eta == 0
                x = step(x, x_0_hat, x_T, None if noiseless else noise(x_T), out=unheld(x))
            else:
                x = multistep(step, x, estimates, x_T, h[n::-1], out=unheld(x))
            yield State(t, x, x_0_hat)


def boot(denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise, t: Tensor) -> State:
    """From x_T at t_max to the state at t < t_max, with the booting noise in it (DBIM, sec. 3)."""
    eps, x_0_hat = noise(x_T), denoise(x_T, schedule.T)
    return State(t, schedule.q_sample(x_0_hat, x_T, t, eps), x_0_hat)


def multistep(
    step: Transition,
    x_s: Tensor,
    estimates: list[Tensor],
    x_T: Tensor,
    h: list[float],
    out: Tensor | None = None,
) -> Tensor:
    """The step s -> t at order 2 or 3 (DBIM, high order).

    In place of x_0_hat(s) stands the mean over the step, weighted by e^lambda, of the Taylor
    polynomial x_0_hat(s) + D1 (lambda - lambda_s) + D2 (lambda - lambda_s)^2 / 2, with finite
    differences D1, D2.

    Args:
        estimates: of x_0 at s and at the times u_1(, u_2) before it.
        h: lambda_t - lambda_s, lambda_s - lambda_u_1(, lambda_u_1 - lambda_u_2).
    """
    phi_1, phi_2 = 1 - math.exp(-h[0]), math.exp(-h[0]) + h[0] - 1
    p, q = phi_2 / phi_1, (h[0] ** 2 / 2 - phi_2) / phi_1  # the mean is x_0_hat(s) + p D1 + q D2
    if len(estimates) == 2:
        weights = [1 + p / h[1], -p / h[1]]
    else:
        h_1, h_2 = h[1], h[2]
        slope_1 = (p * (2 * h_1 + h_2) + 2 * q) / (h_1 + h_2) / h_1  # of x_0_hat(s) - x_0_hat(u_1)
        slope_2 = -(p * h_1 + 2 * q) / (h_1 + h_2) / h_2  # of x_0_hat(u_1) - x_0_hat(u_2)
        weights = [1 + slope_1, slope_2 - slope_1, -slope_2]
    k_0 = [weight * step.k_0 for weight in weights]
    return combine((step.k, step.k_T, *k_0), (x_s, x_T, *estimates), out)
