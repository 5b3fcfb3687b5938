"""Samplers against exact solutions: their order, and the distribution of their samples."""

import math

import pytest
import torch
from closed_form import MixtureBridge, errors, exact_state, harmless_grid, slope, trajectory

from dbim_lightning.bridge import BrownianSchedule, VESchedule, VPSchedule
from dbim_lightning.samplers import DBIM, ECSI, DBMSolver, UniformLambda
from dbim_lightning.samplers.dbm_solver import midpoint_weight

STEPS = [40, 80, 160, 320]
SCHEDULES = [VPSchedule(), VESchedule(), BrownianSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("order", "least"), [(1, 0.9), (2, 1.8), (3, 2.6)])
def test_eta_0_converges_to_the_exact_ode_at_its_order(schedule, order, least):
    distances = errors(schedule, order, STEPS, harmless_grid)
    assert slope(STEPS, distances) >= least
    assert distances[-1] < 0.01


def off(schedule, sampler, count=100_000):
    """How far mean and variance of samples of x_0 given x_T = 0.5 are from the exact posterior's.

    Both in standard errors. Of the last state, which `sample` would clamp.
    """
    bridge = MixtureBridge(schedule, (1.0,), (0.1,), (0.4,), (0.25,))
    generator, last = torch.Generator().manual_seed(0), []

    def keep(step, t, x, x_0_hat):
        last[:] = [x]

    sampler.sample(
        bridge,
        schedule,
        torch.full((count, 1, 1, 1), 0.5),
        lambda x: torch.randn(x.shape, generator=generator),
        on_step=keep,
    )
    x, mean, variance = last[0].double(), 0.1 + 0.4 * 0.5, 0.25**2
    error = math.sqrt(variance / count), variance * math.sqrt(2 / count)
    return (x.mean().item() - mean) / error[0], (x.var().item() - variance) / error[1]


@pytest.mark.parametrize(
    ("schedule", "eta", "nfe"),
    [(SCHEDULES[0], eta, 1200) for eta in (0.0, 0.3, 0.5, 0.8, 1.0)]
    + [(SCHEDULES[1], eta, 2400) for eta in (0.0, 0.5, 1.0)]
    + [(SCHEDULES[2], eta, 1200) for eta in (0.0, 0.5, 1.0)]
    + [(SCHEDULES[1], eta, 2400) for eta in (1.2, 1.5, 2.0)]
    + [(schedule, eta, 1200) for schedule in SCHEDULES[::2] for eta in (1.2, 1.5, 2.0)],
    ids=lambda v: type(v).__name__ if hasattr(v, "t_min") else str(v),
)
def test_samples_of_a_gaussian_bridge_converge_to_its_posterior(schedule, eta, nfe):
    """Within 4 standard errors of 100,000 samples with many calls, and far off with few."""
    options = {"eta": eta, "clip_denoised": False, "grid": UniformLambda()}
    mean, variance = off(schedule, DBIM(nfe, **options))
    assert abs(mean) < 4
    assert abs(variance) < 4
    _, variance = off(schedule, DBIM(10, **options))
    assert abs(variance) > 40


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("eta", [0.5, 1.0, 1.5])
def test_stochastic_multistep_needs_fewer_calls(schedule, eta):
    """Orders 2 and 3 are within 4 standard errors at NFE 160; order 1 is not."""
    options = {"eta": eta, "clip_denoised": False, "grid": UniformLambda(), "omega": "exponential"}
    for order in (2, 3):
        mean, variance = off(schedule, DBIM(160, order=order, **options))
        assert abs(mean) < 4
        assert abs(variance) < 4
    _, variance = off(schedule, DBIM(160, **options))
    assert abs(variance) > 8


@pytest.mark.parametrize("schedule", [SCHEDULES[0], SCHEDULES[2]], ids=lambda s: type(s).__name__)
def test_samples_of_ecsi_converge_to_the_posterior(schedule):
    options = {"eta": 1.0, "clip_denoised": False, "grid": UniformLambda(start=0.9999)}
    mean, variance = off(schedule, ECSI(800, **options))
    assert abs(mean) < 4
    assert abs(variance) < 4
    _, variance = off(schedule, ECSI(10, **options))
    assert abs(variance) > 40


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("midpoint", ["log_rho", "time"])
def test_dbm_solver_converges_to_the_exact_ode_at_order_2(schedule, midpoint):
    bridge, distances, exact = MixtureBridge(schedule), [], None
    for n in STEPS:
        grid = UniformLambda(start=schedule.t_max - 1e-4)
        sampler = DBMSolver(2 * n + 2, midpoint, clip_denoised=False, grid=grid)
        states, x_T = trajectory(bridge, sampler)
        if exact is None:
            exact = exact_state(bridge, states[0], x_T, schedule.t_max - 1e-4)
        distances.append((states[-2] - exact).square().mean().sqrt().item())
    assert slope(STEPS, distances) >= 1.75
    assert distances[-1] < 1e-4


def test_the_weight_of_the_midpoint_is_the_mean_of_ell_over_the_step():
    """By quadrature: r = rho_bar / rho is the variable of integration."""
    schedule, (s, m, t) = VPSchedule(), torch.tensor([0.8, 0.6, 0.3], dtype=torch.float64)

    def r(u):
        return schedule.rho_bar(u) / schedule.rho(u)

    def ell(value):
        return (1 + value**2).sqrt().log() - schedule.rho_T.log()

    values = torch.linspace(r(s), r(t), 100_001, dtype=torch.float64)
    area = torch.trapezoid(ell(values) - ell(r(s)), values)
    expected = area / (r(t) - r(s)) / (ell(r(m)) - ell(r(s)))
    assert midpoint_weight(schedule, s, m, t).item() == pytest.approx(expected.item(), rel=1e-8)
