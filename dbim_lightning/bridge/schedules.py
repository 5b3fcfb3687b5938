"""Bridge schedules: t -> (a, b, c) and what they are made of, in float64.

A schedule (alpha_t, rho_t = sigma_t / alpha_t) fixes the diffusion bridge between a target x_0 and
a source x_T (DDBM, arXiv 2309.16948; DBIM, arXiv 2405.15885):

    x_t = a_t x_T + b_t x_0 + c_t eps,   eps ~ N(0, I)

Times are float64 tensors of any shape; so are all results.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.errors import UserError


class Bridge(NamedTuple):
    """Coefficients of the marginal x_t = a x_T + b x_0 + c eps."""

    a: Tensor
    b: Tensor
    c: Tensor


class Schedule(ABC):
    """A bridge on [t_min, t_max]; subclasses give alpha, rho and the SDE dx = f x dt + g dw."""

    t_min: float
    t_max: float

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

    def alpha_bar(self, t: Tensor) -> Tensor:
        """alpha_bar_t = alpha_t / alpha_T."""
        return self.alpha(t) / self.alpha(self.T)

    def rho_bar(self, t: Tensor) -> Tensor:
        """rho_bar_t = sqrt(rho_T^2 - rho_t^2)."""
        return (self.rho(self.T) ** 2 - self.rho(t) ** 2).clamp(min=0).sqrt()

    def bridge(self, t: Tensor) -> Bridge:
        """Coefficients of the marginal at t.

        a = alpha_bar rho^2 / rho_T^2, b = alpha rho_bar^2 / rho_T^2, c = alpha rho_bar rho / rho_T.
        """
        alpha, rho, rho_bar, rho_T = self.alpha(t), self.rho(t), self.rho_bar(t), self.rho(self.T)
        return Bridge(
            a=self.alpha_bar(t) * rho**2 / rho_T**2,
            b=alpha * rho_bar**2 / rho_T**2,
            c=alpha * rho_bar * rho / rho_T,
        )

    def uniform_times(self, u: Tensor) -> Tensor:
        """Maps u in [0, 1] to t in [t_min, t_max]."""
        return self.t_min + (self.t_max - self.t_min) * u.double()


class VPSchedule(Schedule):
    """Variance preserving: beta(t) = beta_min + beta_d t on [1e-4, 1] (DDBM)."""

    def __init__(
        self, beta_d: float = 2.0, beta_min: float = 0.1, t_min: float = 1e-4, t_max: float = 1.0
    ):
        if not (0 < t_min < t_max and beta_min > 0 and beta_d >= 0):
            raise UserError(
                f"VP schedule with {beta_d=}, {beta_min=}, {t_min=}, {t_max=}: "
                "needs beta_d >= 0, beta_min > 0 and 0 < t_min < t_max"
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
