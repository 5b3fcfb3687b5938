"""Diffusion bridge implicit models (DBIM, arXiv 2405.15885)."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.estimator import Estimator, State, follow
from dbim_lightning.samplers.grids import Grid, Uniform, falling_times
from dbim_lightning.samplers.sampler import Denoise, Noise, OnStep


class Step(NamedTuple):
    """x_t = k x_s + k_T x_T + weights . (x_0_hat at s, at the time before, ...) + omega eps."""

    t: float
    k: float
    k_T: float
    weights: list[float]
    omega: float


class DBIM:
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

    def __init__(
        self,
        nfe: int,
        eta: float = 0.0,
        order: int = 1,
        clip_denoised: bool = True,
        grid: Grid = Uniform(),  # noqa: B008 - frozen
    ):
        if not isinstance(nfe, int) or nfe < 2:
            raise UserError(f"nfe={nfe}: use a whole number from 2, one call boots and one steps")
        if not 0 <= eta <= 1:
            raise UserError(f"eta={eta}: use a value in [0, 1]")
        if order not in (1, 2, 3):
            raise UserError(f"order={order}: use 1, 2 or 3")
        if eta > 0 and order > 1:
            raise UserError(f"eta={eta} with order={order}: use eta=0 for order 2 or 3, or order=1")
        self.nfe, self.eta, self.order = nfe, eta, order
        self.clip_denoised, self.grid = clip_denoised, grid

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
        """See `Sampler.sample`; returns the state at t_min, clamped to [-1, 1]."""
        times = falling_times(self.grid, schedule, schedule.t_max - 1e-3, self.nfe - 1)
        steps = self.steps(schedule, times)
        calls = [schedule.t_max, *times[:-1].tolist()]
        options = {"clip": self.clip_denoised, "mask": mask, "cond": cond}
        estimate = Estimator(denoise, x_T, calls, keep=self.order, **options)
        booted = boot(schedule, times[0], x_T, noise, estimate)
        return follow(states(booted, steps, x_T, noise, estimate), estimate, on_step)

    def steps(self, schedule: Schedule, times: Tensor) -> list[Step]:
        """The coefficients of each step s -> t between falling times, in float64.

        omega = eta alpha_t rho_t sqrt(1 - rho_t^2 / rho_s^2), k = sqrt(c_t^2 - omega^2) / c_s,
        k_T = a_t - k a_s, and at order 1 the weight of x_0_hat is b_t - k b_s (DBIM, sec. 3).
        The last step adds no noise, though it removes the variance.

        Raises:
            UserError: two times that are the same one to the schedule.
        """
        if not (schedule.snap(times).diff() < 0).all():
            raise UserError(
                f"nfe={self.nfe} with {self.grid}: two times fall on one index of the "
                f"{type(schedule).__name__}: use fewer NFE, or the uniform grid"
            )
        (a_s, b_s, c_s), (a_t, b_t, c_t) = schedule.bridge(times[:-1]), schedule.bridge(times[1:])
        rho, sigma = schedule.rho(times), schedule.alpha(times) * schedule.rho(times)
        omega = self.eta * sigma[1:] * (1 - rho[1:] ** 2 / rho[:-1] ** 2).sqrt()
        k = (c_t**2 - omega**2).sqrt() / c_s
        omega[-1] = 0
        weights = (b_t - k * b_s).unsqueeze(1).tolist()
        h = schedule.lambda_(times).diff()
        for order in range(2, min(self.order, len(h)) + 1):
            of_order = b_t[order - 1 :, None] * multistep(h.unfold(0, order, 1))
            weights[order - 1 : -1] = of_order[:-1].tolist()
        columns = (times[1:].tolist(), k.tolist(), (a_t - k * a_s).tolist(), weights)
        return [Step(*step) for step in zip(*columns, omega.tolist(), strict=True)]


def boot(schedule: Schedule, t: Tensor, x_T: Tensor, noise: Noise, estimate: Estimator) -> State:
    """The state at t, just below t_max, with the booting noise in it (DBIM, sec. 3)."""
    eps, x_0 = noise(x_T), estimate(x_T)
    a, b, c = (coefficient.item() for coefficient in schedule.bridge(t))
    return State(t.item(), (a * x_T).add_(x_0, alpha=b).add_(eps, alpha=c), x_0)


def states(
    booted: State, steps: list[Step], x_T: Tensor, noise: Noise, estimate: Estimator
) -> Iterator[State]:
    """What the sampler goes through; the tensors are overwritten on the way on."""
    yield booted
    x, estimates = booted.x, deque(maxlen=3)
    for step in steps:
        estimates.appendleft(x_0 := estimate(x))
        x.mul_(step.k).add_(x_T, alpha=step.k_T)
        for weight, earlier in zip(step.weights, estimates, strict=False):
            x.add_(earlier, alpha=weight)
        if step.omega > 0:
            x.add_(noise(x), alpha=step.omega)
        yield State(step.t, x, x_0)


def multistep(h: Tensor) -> Tensor:
    """Weights of x_0_hat at s, u_1(, u_2) in steps s -> t of length h in lambda (DBIM, high order).

    The integral of e^(lambda - lambda_t) x_0_hat, with x_0_hat the Taylor polynomial at s whose
    derivatives D1, D2 are finite differences.

    Args:
        h: (n, 2) or (n, 3), in each row the steps (u_2 -> u_1,) u_1 -> s, s -> t.

    Returns:
        (n, 2) or (n, 3).
    """
    *earlier, h_1, h_t = h.unsqueeze(2).unbind(1)
    phi_1, phi_2 = 1 - torch.exp(-h_t), torch.exp(-h_t) + h_t - 1
    x = torch.eye(h.shape[1], dtype=h.dtype)
    slope_1 = (x[0] - x[1]) / h_1
    if not earlier:
        return phi_1 * x[0] + phi_2 * slope_1
    (h_2,) = earlier
    slope_2 = (x[1] - x[2]) / h_2
    D1 = ((2 * h_1 + h_2) * slope_1 - h_1 * slope_2) / (h_1 + h_2)
    D2 = 2 * (slope_1 - slope_2) / (h_1 + h_2)
    return phi_1 * x[0] + phi_2 * D1 + (h_t**2 / 2 - phi_2) * D2
