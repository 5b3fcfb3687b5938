"""The form that every step of a bridge has, and DBIM's (arXiv 2405.15885, sec. 3) in it.

x_t = k x_s + k_0 x_0_hat + k_T x_T + omega eps
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dbim_lightning.bridge.combine import combine
from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError

Form = Literal["published", "exponential"]
MOST_ETA = 100  # far above it each step forgets the one before


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
        return map(
            Transition, *(torch.as_tensor(each, dtype=torch.float64).tolist() for each in self)
        )


def dbim_transition(
    schedule: Schedule, s: Tensor, t: Tensor, eta: float = 0.0, form: Form = "published"
) -> Transition:
    """DBIM's step from s to t: with any omega in [0, c_t] it keeps the marginals of the bridge.

    k = sqrt(c_t^2 - omega^2) / c_s, k_0 = b_t - k b_s, k_T = a_t - k a_s, and omega is, with
    h = lambda_t - lambda_s,

        published:    eta alpha_t rho_t sqrt(1 - rho_t^2 / rho_s^2)
        exponential:  c_t sqrt(1 - e^(-2 eta h)), where k = e^(-eta h) c_t / c_s

    The second solves, for a constant x_0_hat, the SDE whose noise is eta times that of the bridge's
    (ECSI, arXiv 2410.21553, in one step). On the bridges of DDBM both are the same for eta 0 and
    1, unless the source is noised.
    At eta = 0 the step from t to s, with the same x_0_hat, undoes it.

    Args:
        s, t: scalars or (B,), s below t_max; t < s unless eta is 0.

    Raises:
        UserError: eta below 0, or above 1 in the published form, noise on the way up, or s where
            there is no noise.
    """
    require_eta(eta, form)
    if eta > 0 and (t > s).any():
        raise UserError(f"eta={eta} in a step from an earlier to a later time: only eta=0 goes up")
    (a_s, b_s, c_s), (a_t, b_t, c_t) = schedule.coefficients(s), schedule.coefficients(t)
    if (c_s <= 0).any():
        raise UserError("a step from a time with c = 0: begin above 0 and below t_max")
    if form == "exponential":
        h = schedule.lambda_(t) - schedule.lambda_(s)
        omega, k = c_t * (-torch.expm1(-2 * eta * h)).sqrt(), torch.exp(-eta * h) * c_t / c_s
    else:
        omega = torch.zeros_like(c_t)
        if eta > 0:
            rho_s, rho_t = schedule.rho(s), schedule.rho(t)
            omega = eta * schedule.alpha(t) * rho_t * (1 - rho_t**2 / rho_s**2).sqrt()
        k = (c_t**2 - omega**2).sqrt() / c_s
    return Transition(k, k_0=b_t - k * b_s, k_T=a_t - k * a_s, omega=omega)


def require_eta(eta: float, form: Form) -> None:
    """Refuses a stochasticity that the form of omega does not have.

    Raises:
        UserError: as said, or a form that does not exist.
    """
    if form not in get_args(Form):
        raise UserError(
            f"form={form} of omega does not exist: choose {' or '.join(get_args(Form))}"
        )
    if not 0 <= eta <= MOST_ETA:
        raise UserError(f"eta={eta}: use 0 or more, up to {MOST_ETA}, such as 0, 1 or 1.5")
    if form == "published" and eta > 1:
        raise UserError(
            f"eta={eta} in the published form of omega: use 0 to 1, or omega=exponential"
        )


def require_plain_source(schedule: Schedule) -> None:
    """Refuses a noised source, for samplers whose steps are those of the bridge to x_T itself.

    Raises:
        UserError: as said.
    """
    if schedule.source_noise:
        raise UserError(
            f"source_noise={schedule.source_noise}: this sampler is for bridges to x_T itself, use "
            "dbim"
        )
