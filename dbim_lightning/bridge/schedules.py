"""Schedules: t -> (a, b, c) and what they are made of, in float64.

A schedule (alpha_t, rho_t = sigma_t / alpha_t) fixes the diffusion bridge between a target x_0 and
a source x_T (DDBM, arXiv 2309.16948; DBIM, arXiv 2405.15885):

    x_t = a_t x_T + b_t x_0 + c_t eps,   eps ~ N(0, I)

With a noised source (ECSI, arXiv 2410.21553) it goes to x_T + beta z with z ~ N(0, I), of
which x_T is still what the network is told. Its marginal given x_T is the one above with
c_t^2 + beta^2 a_t^2 in place of c_t^2, and c_T = beta.

Times are float64 tensors of any shape, on the CPU; so are all coefficients.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dbim_lightning.bridge.combine import Coefficients
from dbim_lightning.errors import UserError


class Schedule(ABC):
    """A bridge on [t_min, t_max]; subclasses give alpha, rho and the SDE dx = f x dt + g dw.

    Args:
        source_noise: beta of a noised source, from 0.
    """

    t_min: float
    t_max: float
    source_noise: float = 0.0

    def __init__(self, source_noise: float = 0.0):
        if not 0 <= source_noise < 1e9:
            raise UserError(f"{source_noise=} of the schedule: use 0 or more, such as 0.25")
        self.source_noise = source_noise

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Scale alpha_t."""

    @abstractmethod
    def rho(self, t: Tensor) -> Tensor:
        """Noise-to-signal ratio rho_t = sigma_t / alpha_t."""

    @abstractmethod
    def f(self, t: Tensor) -> Tensor:
        """Linear drift f(t)."""

    @abstractmethod
    def g2(self, t: Tensor) -> Tensor:
        """Squared diffusion g^2(t)."""

    @property
    def T(self) -> Tensor:
        """The end time as a float64 scalar."""
        return torch.tensor(self.t_max, dtype=torch.float64)

    @property
    def alpha_T(self) -> Tensor:
        """alpha at the end time."""
        return self.alpha(self.T)

    @property
    def rho_T(self) -> Tensor:
        """rho at the end time."""
        return self.rho(self.T)

    def alpha_bar(self, t: Tensor) -> Tensor:
        """alpha_bar_t = alpha_t / alpha_T."""
        return self.alpha(t) / self.alpha_T

    def rho_bar(self, t: Tensor) -> Tensor:
        """rho_bar_t = sqrt(rho_T^2 - rho_t^2)."""
        return (self.rho_T**2 - self.rho(t) ** 2).clamp(min=0).sqrt()

    def coefficients(self, t: Tensor) -> Coefficients:
        """Of the marginal at t.

        a = alpha_bar rho^2 / rho_T^2, b = alpha rho_bar^2 / rho_T^2, c = alpha rho_bar rho / rho_T,
        or with a noised source c^2 = (alpha rho_bar rho / rho_T)^2 + (beta a)^2.
        """
        alpha, rho, rho_bar, rho_T = self.alpha(t), self.rho(t), self.rho_bar(t), self.rho_T
        a = self.alpha_bar(t) * rho**2 / rho_T**2
        c = alpha * rho_bar * rho / rho_T
        return Coefficients(
            a=a,
            b=alpha * rho_bar**2 / rho_T**2,
            c=torch.hypot(c, self.source_noise * a) if self.source_noise else c,
        )

    def q_sample(self, x_0: Tensor, x_T: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Draws x_t = a_t x_T + b_t x_0 + c_t eps.

        Args:
            x_0, x_T, eps: target, source and standard normal noise, (B, C, H, W).
            t: float64 on the CPU, a scalar or (B,).
        """
        return self.coefficients(t).q_sample(x_0, x_T, eps)

    def rates(self, t: Tensor) -> Coefficients:
        """The derivatives a', b', c' in t, where c > 0.

        By (rho^2)' = g^2 / alpha^2 = -(rho_bar^2)' and alpha' = f alpha, with ' for d/dt:
        a' = f a + g^2 / (alpha alpha_T rho_T^2), b' = f b - g^2 / (alpha rho_T^2),
        c' = f c + [g^2 (rho_bar^2 - rho^2) / (2 rho_T^2) + beta^2 a (a' - f a)] / c.
        """
        (a, b, c), f, g2 = self.coefficients(t), self.f(t), self.g2(t)
        alpha, alpha_T, rho_T = self.alpha(t), self.alpha_T, self.rho_T
        da = g2 / (alpha * alpha_T * rho_T**2)  # a' - f a
        dc = g2 * (self.rho_bar(t) ** 2 - self.rho(t) ** 2) / (2 * rho_T**2)
        return Coefficients(
            a=f * a + da,
            b=f * b - g2 / (alpha * rho_T**2),
            c=f * c + (dc + self.source_noise**2 * a * da) / c,
        )

    def lambda_(self, t: Tensor) -> Tensor:
        """lambda_t = log(b_t / c_t), half the log-SNR of x_0 in x_t; it rises as t falls."""
        _, b, c = self.coefficients(t)
        return (b / c).log()

    def snap(self, t: Tensor) -> Tensor:
        """The time that this schedule has for t: t itself, unless it is a table."""
        return t

    def uniform_times(self, u: Tensor) -> Tensor:
        """Maps u in [0, 1] to t in [t_min, t_max]."""
        return self.t_min + (self.t_max - self.t_min) * u.double()


class VPSchedule(Schedule):
    """Variance preserving: beta(t) = beta_min + beta_d t on [1e-4, 1] (DDBM)."""

    def __init__(
        self,
        beta_d: float = 2.0,
        beta_min: float = 0.1,
        t_min: float = 1e-4,
        t_max: float = 1.0,
        source_noise: float = 0.0,
    ):
        super().__init__(source_noise)
        is_finite = beta_min * t_max + beta_d * t_max**2 / 2 < 700  # whose exponential is
        if not (0 < t_min < t_max and beta_min > 0 and beta_d >= 0 and is_finite):
            raise UserError(
                f"VP schedule with {beta_d=}, {beta_min=}, {t_min=}, {t_max=}: needs beta_d >= 0, "
                "beta_min > 0, 0 < t_min < t_max and beta_min t_max + beta_d t_max^2 / 2 < 700"
            )
        self.beta_d, self.beta_min, self.t_min, self.t_max = beta_d, beta_min, t_min, t_max

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + self.beta_d * t**2 / 2

    def alpha(self, t: Tensor) -> Tensor:
        """exp(-beta_min t / 2 - beta_d t^2 / 4)."""
        return torch.exp(-self._integral(t) / 2)

    def rho(self, t: Tensor) -> Tensor:
        """sqrt(exp(beta_min t + beta_d t^2 / 2) - 1)."""
        return (torch.exp(self._integral(t)) - 1).sqrt()

    def f(self, t: Tensor) -> Tensor:
        """-(beta_min + beta_d t) / 2."""
        return -self.g2(t) / 2

    def g2(self, t: Tensor) -> Tensor:
        """beta_min + beta_d t."""
        return self.beta_min + self.beta_d * t


class _Driftless(Schedule):
    """alpha = 1 and f = 0: without noise, nothing moves."""

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def f(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(t)


class VESchedule(_Driftless):
    """Variance exploding: alpha = 1 and rho = t on [t_min, sigma_max] (DDBM)."""

    def __init__(self, sigma_max: float = 80.0, t_min: float = 0.002, source_noise: float = 0.0):
        super().__init__(source_noise)
        if not 0 < t_min < sigma_max < 1e9:
            raise UserError(
                f"VE schedule with {sigma_max=}, {t_min=}: needs 0 < t_min < sigma_max < 1e9"
            )
        self.t_min, self.t_max = t_min, sigma_max

    def rho(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def g2(self, t: Tensor) -> Tensor:
        """2 t."""
        return 2 * t


class BrownianSchedule(_Driftless):
    """Brownian bridge with the diffusion of I2SB: a + b = 1 and c = 0 at both ends, exactly.

    dx = sqrt(beta(t)) dw on [1e-4, 1], where sqrt(beta) rises linearly from sqrt(beta_min) at t = 0
    towards sqrt(beta_max) until t = 1/2, and falls as it rose (I2SB, arXiv 2302.05872, in
    continuous time). beta_min = beta_max is the Brownian bridge of constant diffusion.
    """

    t_min, t_max = 1e-4, 1.0

    def __init__(self, beta_min: float = 0.1, beta_max: float = 1.0, source_noise: float = 0.0):
        super().__init__(source_noise)
        _check_betas("Brownian", beta_min, beta_max)
        self.root, self.slope = beta_min**0.5, beta_max**0.5 - beta_min**0.5

    def _integral(self, t: Tensor) -> Tensor:
        """The integral of beta from 0 to t <= 1/2."""
        p, q = self.root, self.slope
        return p**2 * t + p * q * t**2 + q**2 * t**3 / 3

    def rho(self, t: Tensor) -> Tensor:
        """The square root of the integral of beta from 0 to t."""
        half = self._integral(torch.full_like(t, 0.5))
        rising, falling = self._integral(t), 2 * half - self._integral(1 - t)
        return torch.where(t <= 0.5, rising, falling).sqrt()

    def rho_bar(self, t: Tensor) -> Tensor:
        """rho_{1-t}, by symmetry."""
        return self.rho(1 - t)

    def g2(self, t: Tensor) -> Tensor:
        """beta(t)."""
        return (self.root + self.slope * torch.minimum(t, 1 - t)) ** 2


class I2SBSchedule(_Driftless):
    """The variant of I2SB that the published DBIM weights were trained with: a table of n steps.

    It is no exact bridge: the step at t counts both in rho_t and in rho_bar_t, so that a + b goes
    up to 1.0018 and c is 0.01 at both ends. `BrownianSchedule` is the exact one. Times are rounded
    to the nearest k / (n - 1), in float32 and ties to even, as in the published code.
    """

    t_min, t_max = 1e-4, 1.0

    def __init__(
        self,
        n_timestep: int = 1000,
        beta_min: float = 0.1,
        beta_max: float = 1.0,
        source_noise: float = 0.0,
    ):
        super().__init__(source_noise)
        if not 4 <= n_timestep <= 1_000_000 or n_timestep % 2:
            raise UserError(
                f"I2SB schedule with {n_timestep=}: use an even number from 4 to 1,000,000"
            )
        _check_betas("I2SB", beta_min, beta_max)
        ends = (beta_min / n_timestep) ** 0.5, (beta_max / n_timestep) ** 0.5
        rising = torch.linspace(*ends, n_timestep, dtype=torch.float64)[: n_timestep // 2] ** 2
        self.n_timestep, self.beta = n_timestep, torch.cat([rising, rising.flip(0)])
        self.std_fwd = self.beta.cumsum(0).sqrt()
        self.std_bwd = self.beta.flip(0).cumsum(0).sqrt().flip(0)

    def index(self, t: Tensor) -> Tensor:
        """k = round((n - 1) t), int64."""
        return (t.float() * (self.n_timestep - 1)).round().long()

    def snap(self, t: Tensor) -> Tensor:
        """The k-th of n equal steps from t_min to t_max."""
        return self.uniform_times(self.index(t) / (self.n_timestep - 1))

    def rho(self, t: Tensor) -> Tensor:
        """sqrt(beta_0 + ... + beta_k)."""
        return self.std_fwd[self.index(t)]

    def rho_bar(self, t: Tensor) -> Tensor:
        """sqrt(beta_k + ... + beta_{n-1})."""
        return self.std_bwd[self.index(t)]

    def g2(self, t: Tensor) -> Tensor:
        """(n - 1) beta_k, the variance per unit of time."""
        return (self.n_timestep - 1) * self.beta[self.index(t)]


def _check_betas(name: str, beta_min: float, beta_max: float) -> None:
    if not 0 < beta_min <= beta_max < 1e9:
        raise UserError(
            f"{name} schedule with {beta_min=}, {beta_max=}: needs 0 < beta_min <= beta_max < 1e9"
        )
