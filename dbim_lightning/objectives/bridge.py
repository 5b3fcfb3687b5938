"""The published objective of DDBM (arXiv 2309.16948, sec. 4), which all bridges share.

t ~ times,  x_t = a_t x_T + b_t x_0 + c_t eps,  loss = |D(x_t, t, x_T) - x_0|^2 / c_out(t)^2
"""

from dataclasses import dataclass

from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser, conditions, like
from dbim_lightning.errors import UserError
from dbim_lightning.objectives.objective import Batch, Objective, Values
from dbim_lightning.samplers import Grid, Uniform


@dataclass(frozen=True)
class BridgeMatching(Objective):
    """Values are the weighted "loss" and the plain squared "error" of x_0, means over pixels.

    Args:
        times: the grid whose density training times follow; uniform as published.
        mask: count errors in the holes of masked pairs alone; means are still over all pixels.
    """

    times: Grid = Uniform()  # noqa: RUF009 - frozen
    mask: bool = False

    def require(self, pair: Batch) -> None:
        """Refuses a pair without mask where one is counted."""
        if self.mask and "mask" not in pair:
            raise UserError("objective.mask=true needs data with masks: leave it out")

    def __call__(self, denoiser: BridgeDenoiser, batch: Batch, step: int) -> Values:
        u, eps = self.draws(batch)
        return {"u": u, **self.at(denoiser, batch, u, eps)}

    def at(self, denoiser: BridgeDenoiser, batch: Batch, u: Tensor, eps: Tensor) -> Values:
        t = self.times(denoiser.schedule, denoiser.schedule.t_max, u)
        return self.at_times(denoiser, batch, t, eps)

    def at_times(self, denoiser: BridgeDenoiser, batch: Batch, t: Tensor, eps: Tensor) -> Values:
        """At times (B,) float64 on the CPU; those beyond t_max count as t_max."""
        schedule, x_0, x_T = denoiser.schedule, batch["x_0"], batch["x_T"]
        t = t.clamp(max=schedule.t_max)
        coefficients = schedule.coefficients(t)
        scalings = denoiser.preconditioning(schedule, t, coefficients)
        x_t = coefficients.q_sample(x_0, x_T, eps)
        x_0_hat = denoiser.estimate(x_t, scalings, x_T, **conditions(batch))
        error = (x_0_hat - x_0).square()
        if self.mask:
            self.require(batch)
            error = batch["mask"] * error
        error = error.mean(dim=(1, 2, 3))
        return {"loss": error / like(scalings.c_out, error).flatten() ** 2, "error": error}
