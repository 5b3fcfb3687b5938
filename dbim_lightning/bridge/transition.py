"""The form that every step of a bridge has, and DBIM's (arXiv 2405.15885, sec. 3) in it.

x_t = k x_s + k_0 x_0_hat + k_T x_T + omega eps
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge.combine import combine
from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError


class Transition(NamedTuple):
    """The coefficients of a step s -> t: float64 on the CPU, scalars or (B,), or numbers."""

    k: Tensor | float
    k_0: Tensor | float
    k_T: Tensor | float
    omega: Tensor | float

    def __call__(
        self,
        x_s: Tensor,
        x_0_hat: Tensor,
        x_T: Tensor,
        eps: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """The state x_t (B, C, H, W), a new tensor, or in `out`; without eps no noise is added."""
        if eps is None:
            return combine(self[:3], (x_s, x_0_hat, x_T), out)
        return combine(self, (x_s, x_0_hat, x_T, eps), out)

    def each(self) -> "Iterator[Transition]":
        """The transitions of (B,) times one by one, in numbers."""
        return map(Transition, *(coefficient.tolist() for coefficient in self))


def dbim_transition(schedule: Schedule, s: Tensor, t: Tensor, eta: float = 0.0) -> Transition:
    """DBIM's step from s to t: it keeps the marginals of the bridge for every eta in [0, 1].

    omega = eta alpha_t rho_t sqrt(1 - rho_t^2 / rho_s^2), k = sqrt(c_t^2 - omega^2) / c_s,
    k_0 = b_t - k b_s, k_T = a_t - k a_s. At eta = 0 the step from t to s, with the same x_0_hat,
    undoes it.

    Args:
        s, t: scalars or (B,), s below t_max; t < s unless eta is 0.

    Raises:
        UserError: eta outside [0, 1], noise on the way up, or s where there is no noise.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta={eta}: use a value in [0, 1]")
    if eta > 0 and (t > s).any():
        raise UserError(f"eta={eta} in a step from an earlier to a later time: only eta=0 goes up")
    (a_s, b_s, c_s), (a_t, b_t, c_t) = schedule.coefficients(s), schedule.coefficients(t)
    if (c_s <= 0).any():
        raise UserError("a step from a time with c = 0: begin above 0 and below t_max")
    omega = torch.zeros_like(c_t)
    if eta > 0:
        rho_s, rho_t = schedule.rho(s), schedule.rho(t)
        omega = eta * schedule.alpha(t) * rho_t * (1 - rho_t**2 / rho_s**2).sqrt()
    k = (c_t**2 - omega**2).sqrt() / c_s
    return Transition(k, k_0=b_t - k * b_s, k_T=a_t - k * a_s, omega=omega)
