"""Preconditioning: what the network sees, and how the denoiser is made of what it says.

D(x_t, t, x_T) = c_skip x_t + c_out F(c_in x_t, c_noise, x_T)
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge.combine import Coefficients
from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError

_ROUNDING = 1e-6  # of statistics as people copy them


class Scalings(NamedTuple):
    """The four coefficients, float64, of the shape of t; the loss weight is 1 / c_out^2."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


class Preconditioning(ABC):
    """Schedule, times and its coefficients at these times -> scalings."""

    @abstractmethod
    def __call__(self, schedule: Schedule, t: Tensor, coefficients: Coefficients) -> Scalings:
        """The scalings at t."""


@dataclass(frozen=True)
class DDBMPreconditioning(Preconditioning):
    """Unit-variance inputs and targets for a bridge between correlated images (DDBM, sec. 4).

    Args:
        sigma_data: standard deviation sigma_0 of the targets.
        sigma_data_end: standard deviation sigma_T of the sources.
        cov_xy: covariance of target and source.

    Raises:
        UserError: a deviation that is not positive or above 100, or a covariance above the product
            of both.
    """

    sigma_data: float = 0.5
    sigma_data_end: float = 0.5
    cov_xy: float = 0.0

    def __post_init__(self):
        for name in ("sigma_data", "sigma_data_end"):
            if not 0 < getattr(self, name) <= 100:
                raise UserError(
                    f"statistics.{name}={getattr(self, name)}: give a positive number, up to 100"
                )
        bound = self.sigma_data * self.sigma_data_end
        if not abs(self.cov_xy) <= bound * (1 + _ROUNDING):
            raise UserError(
                f"statistics.cov_xy={self.cov_xy}: give {bound:g} at most, up or down, which is "
                f"statistics.sigma_data={self.sigma_data} times "
                f"statistics.sigma_data_end={self.sigma_data_end}"
            )

    def __call__(self, schedule: Schedule, t: Tensor, coefficients: Coefficients) -> Scalings:
        """A = a^2 sigma_T^2 + b^2 sigma_0^2 + 2 a b cov_xy + c^2 is the variance of x_t."""
        a, b, c = coefficients
        var_0, var_T, cov = self.sigma_data**2, self.sigma_data_end**2, self.cov_xy
        unexplained = max(var_T * var_0 - cov**2, 0.0)  # below 0 by rounding alone
        A = a**2 * var_T + b**2 * var_0 + 2 * a * b * cov + c**2
        c_in = A**-0.5
        return Scalings(
            c_skip=(b * var_0 + a * cov) / A,
            c_out=(a**2 * unexplained + var_0 * c**2).sqrt() * c_in,
            c_in=c_in,
            c_noise=250 * t.log(),
        )


@dataclass(frozen=True)
class I2SBPreconditioning(Preconditioning):
    """The network predicts the noise on the way from x_0: D = x_t - rho_t F (I2SB)."""

    def __call__(self, schedule: Schedule, t: Tensor, coefficients: Coefficients) -> Scalings:
        """c_noise is the time in thousandths, as the schedule snaps it."""
        one = torch.ones_like(t)
        return Scalings(one, -schedule.rho(t), one, c_noise=1000 * schedule.snap(t))
