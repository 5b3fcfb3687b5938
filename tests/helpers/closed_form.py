"""Bridges whose E[x_0 | x_t, x_T] is known exactly, and the exact solution of their ODE."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from dbim_lightning.bridge import Schedule
from dbim_lightning.samplers import DBIM, Grid, Listed
from dbim_lightning.samplers.grids import times_at


@dataclass(frozen=True)
class MixtureBridge:
    """Each pixel of x_0, given x_T, is a mixture of Gaussians N(mean_i + slope_i x_T, sigma_i^2).

    With two components E[x_0 | x_t, x_T] is not linear in x_t; with one it is.
    """

    schedule: Schedule
    weights: tuple[float, ...] = (0.3, 0.7)
    means: tuple[float, ...] = (-0.5, 0.4)
    slopes: tuple[float, ...] = (0.3, -0.2)
    sigmas: tuple[float, ...] = (0.2, 0.3)

    def __call__(self, x: Tensor, t: Tensor, x_T: Tensor) -> Tensor:
        """E[x_0 | x_t, x_T] by Bayes' rule, for times that are all the same."""
        a, b, c = (coefficient[0] for coefficient in self.schedule.coefficients(t))
        posterior_means, log_weights = [], []
        for weight, mean, slope, sigma in zip(
            self.weights, self.means, self.slopes, self.sigmas, strict=True
        ):
            prior_mean = mean + slope * x_T
            variance = ((b * sigma) ** 2 + c**2).clamp(min=1e-30)
            surprise = x - a * x_T - b * prior_mean
            posterior_means.append(prior_mean + b * sigma**2 / variance * surprise)
            log_weights.append(np.log(weight) - (variance.log() + surprise**2 / variance) / 2)
        probabilities = torch.softmax(torch.stack(log_weights), dim=0)
        return (probabilities * torch.stack(posterior_means)).sum(dim=0)


def exact_state(bridge: MixtureBridge, x: Tensor, x_T: Tensor, start: float) -> Tensor:
    """The state at t_min of the probability flow ODE of DDBM, in time, from x at `start`."""
    schedule = bridge.schedule

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        x_t, time = torch.from_numpy(flat).view_as(x_T), torch.tensor([t], dtype=torch.float64)
        a, b, c = schedule.coefficients(time)
        grad_q = -(x_t - a * x_T - b * bridge(x_t, time, x_T)) / c**2
        to_x_T = x_t - schedule.alpha_bar(time) * x_T
        grad_p = -to_x_T / (schedule.alpha(time) * schedule.rho_bar(time)) ** 2
        drift = schedule.f(time) * x_t - schedule.g2(time) * (grad_q / 2 - grad_p)
        return drift.flatten().numpy()

    span, initial = (start, schedule.t_min), x.flatten().numpy()
    solution = solve_ivp(velocity, span, initial, "DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(solution.y[:, -1]).view_as(x_T)


def harmless_grid(schedule: Schedule, n: int) -> Grid:
    """n steps, equal in lambda (h) but for the first and last, which are h^2 / 8.

    DBIM takes these two at first order whatever its own: their error is O(h^4).
    """
    ends = torch.tensor([schedule.t_max - 1e-3, schedule.t_min], dtype=torch.float64)
    first, last = schedule.lambda_(ends).tolist()
    h = (last - first) / (n - 2)
    inner = torch.linspace(first + h**2 / 8, last - h**2 / 8, n - 1, dtype=torch.float64)
    return Listed([ends[0].item(), *times_at(inner, schedule).tolist(), ends[1].item()])


def trajectory(bridge: MixtureBridge, sampler: DBIM) -> tuple[list[Tensor], Tensor]:
    """States of one fixed image with one fixed booting noise, and the image's x_T, in float64."""
    generator, states = torch.Generator().manual_seed(0), []
    x_T = torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(x_T.shape, generator=generator, dtype=torch.float64)
    sampler.sample(
        bridge,
        bridge.schedule,
        x_T,
        lambda x: eps,
        on_step=lambda step, t, x, x_0: states.append(x),
    )
    return states, x_T


def errors(
    schedule: Schedule, order: int, steps: list[int], grid: Callable[[Schedule, int], Grid]
) -> list[float]:
    """RMS distance of DBIM's last state from the exact one, for each number of steps.

    All grids begin at t_max - 1e-3, where the state is the booted one, and end at t_min.
    """
    bridge, distances, exact = MixtureBridge(schedule), [], None
    for n in steps:
        sampler = DBIM(n + 1, order=order, clip_denoised=False, grid=grid(schedule, n))
        states, x_T = trajectory(bridge, sampler)
        if exact is None:
            exact = exact_state(bridge, states[0], x_T, schedule.t_max - 1e-3)
        distances.append((states[-1] - exact).square().mean().sqrt().item())
    return distances


def slope(steps: list[int], distances: list[float]) -> float:
    """Of log error over log step size, by least squares."""
    return -np.polyfit(np.log(steps), np.log(distances), 1)[0]
