"""DBIM against exact solutions: its order, and the distribution of its samples."""

import math

import pytest
import torch
from closed_form import MixtureBridge, errors, harmless_grid, slope

from dbim_lightning.bridge import BrownianSchedule, VESchedule, VPSchedule
from dbim_lightning.samplers import DBIM, UniformLambda

STEPS = [40, 80, 160, 320]
SCHEDULES = [VPSchedule(), VESchedule(), BrownianSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("order", "least"), [(1, 0.9), (2, 1.8), (3, 2.6)])
def test_eta_0_converges_to_the_exact_ode_at_its_order(schedule, order, least):
    distances = errors(schedule, order, STEPS, harmless_grid)
    assert slope(STEPS, distances) >= least
    assert distances[-1] < 0.01


def moments(schedule, eta, nfe, count=100_000):
    """Mean and variance of DBIM's samples, and of the exact posterior, of x_0 given x_T = 0.5."""
    bridge = MixtureBridge(schedule, (1.0,), (0.1,), (0.4,), (0.25,))
    generator, last = torch.Generator().manual_seed(0), []
    DBIM(nfe, eta, clip_denoised=False, grid=UniformLambda()).sample(
        bridge,
        schedule,
        torch.full((count, 1, 1, 1), 0.5),
        lambda x: torch.randn(x.shape, generator=generator),
        on_step=lambda step, t, x, x_0: last.append(x) if step == nfe - 1 else None,
    )
    x = last[0].double()
    return (x.mean().item(), x.var().item()), (0.1 + 0.4 * 0.5, 0.25**2)


@pytest.mark.parametrize(
    ("schedule", "eta", "nfe"),
    [(SCHEDULES[0], eta, 1200) for eta in (0.0, 0.3, 0.5, 0.8, 1.0)]
    + [(SCHEDULES[1], eta, 2400) for eta in (0.0, 0.5, 1.0)]
    + [(SCHEDULES[2], eta, 1200) for eta in (0.0, 0.5, 1.0)],
    ids=lambda v: type(v).__name__ if hasattr(v, "t_min") else str(v),
)
def test_samples_of_a_gaussian_bridge_converge_to_its_posterior(schedule, eta, nfe):
    """Within 4 standard errors of 100,000 samples with many calls, and far off with few."""
    (mean, variance), (exact_mean, exact_variance) = moments(schedule, eta, nfe)
    four_errors = 4 * math.sqrt(exact_variance / 100_000)
    four_errors_of_variance = 4 * exact_variance * math.sqrt(2 / 100_000)
    assert abs(mean - exact_mean) < four_errors
    assert abs(variance - exact_variance) < four_errors_of_variance
    (_, variance), _ = moments(schedule, eta, 10)
    assert abs(variance - exact_variance) > 10 * four_errors_of_variance
