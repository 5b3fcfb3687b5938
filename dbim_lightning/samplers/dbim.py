"""Diffusion bridge implicit models (DBIM, arXiv 2405.15885)."""

from collections.abc import Callable

import torch
from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import grids
from dbim_lightning.samplers.sampler import Denoise, Noise, OnStep


class DBIM:
    """Samples a trained bridge in `nfe` network calls, without extra training.

    The first call is the booting step: from x_T at t_max to a noisy state just below it. Its noise
    is the only randomness at eta = 0, and so the latent code of the sample.

    Args:
        nfe: number of function evaluations, at least 2.
        eta: stochasticity in [0, 1]; 0 is deterministic, 1 the Markovian bridge.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
        grid: (schedule, nfe - 1) -> the nfe times of the states.
    """

    def __init__(
        self,
        nfe: int,
        eta: float = 0.0,
        clip_denoised: bool = True,
        grid: Callable[[Schedule, int], Tensor] = grids.uniform,
    ):
        if not isinstance(nfe, int) or nfe < 2:
            raise UserError(f"nfe={nfe}: use a whole number from 2, one call boots and one steps")
        if not 0 <= eta <= 1:
            raise UserError(f"eta={eta}: use a value in [0, 1]")
        self.nfe, self.eta, self.clip_denoised, self.grid = nfe, eta, clip_denoised, grid

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

        def estimate(x: Tensor, t: float) -> Tensor:
            x_0 = denoise(x, torch.full((len(x),), t, dtype=torch.float64), x_T, **cond)
            x_0 = x_0.clamp(-1, 1) if self.clip_denoised else x_0
            return x_0 if mask is None else mask * x_0 + (1 - mask) * x_T

        t = self.grid(schedule, self.nfe - 1)
        x_0 = estimate(x_T, schedule.t_max)
        a, b, c = (coefficient[0].item() for coefficient in schedule.bridge(t))
        x = (a * x_T).add_(x_0, alpha=b).add_(noise(x_T), alpha=c)
        for step, (k, k_0, k_T, omega) in enumerate(self.coefficients(schedule, t)):
            if on_step:
                on_step(step, t[step].item(), x, x_0)
            x_0 = estimate(x, t[step].item())
            x = (k * x).add_(x_0, alpha=k_0).add_(x_T, alpha=k_T)
            if omega > 0:
                x.add_(noise(x), alpha=omega)
        if on_step:
            on_step(self.nfe - 1, t[-1].item(), x, x_0)
        return x.clamp(-1, 1)

    def coefficients(self, schedule: Schedule, times: Tensor) -> list[tuple[float, ...]]:
        """(k, k_0, k_T, omega) of each step s -> t: x_t = k x_s + k_0 x_0 + k_T x_T + omega eps.

        omega = eta alpha_t rho_t sqrt(1 - rho_t^2 / rho_s^2), k = sqrt(c_t^2 - omega^2) / c_s,
        k_0 = b_t - k b_s, k_T = a_t - k a_s (DBIM, sec. 3). The last step adds no noise.
        """
        (a_s, b_s, c_s), (a_t, b_t, c_t) = schedule.bridge(times[:-1]), schedule.bridge(times[1:])
        rho, sigma = schedule.rho(times), schedule.alpha(times) * schedule.rho(times)
        omega = self.eta * sigma[1:] * (1 - rho[1:] ** 2 / rho[:-1] ** 2).sqrt()
        k = (c_t**2 - omega**2).sqrt() / c_s
        omega[-1] = 0
        return list(
            zip(*(v.tolist() for v in (k, b_t - k * b_s, a_t - k * a_s, omega)), strict=True)
        )
