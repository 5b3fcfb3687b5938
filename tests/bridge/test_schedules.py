"""What schedules promise, beyond the published numbers."""

import pytest
import torch
from golden_data import SCHEDULES, ToyNetwork

from dbim_lightning.bridge import (
    BridgeDenoiser,
    BrownianSchedule,
    DDBMPreconditioning,
    I2SBPreconditioning,
    I2SBSchedule,
    VESchedule,
    VPSchedule,
)
from dbim_lightning.composing import compose
from dbim_lightning.config import instantiate
from dbim_lightning.errors import UserError
from dbim_lightning.objectives import BridgeMatching

ALL_SCHEDULES = SCHEDULES | {"brownian": BrownianSchedule()}


def test_linear_is_the_path_of_ecsi():
    t, g = torch.linspace(1e-4, 1, 101, dtype=torch.float64), 0.25
    found = instantiate(compose("train", ["schedule=linear"]).schedule).coefficients(t)
    for one, expected in zip(found, (t, 1 - t, 2 * g * (t * (1 - t)).sqrt()), strict=True):
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


def test_exact_brownian_bridge_sums_to_one_and_the_published_table_does_not():
    t = torch.linspace(1e-4, 1, 101, dtype=torch.float64)
    a, b, c = BrownianSchedule().coefficients(t)
    torch.testing.assert_close(a + b, torch.ones_like(t), rtol=0, atol=1e-15)
    assert c[-1] == 0
    a, b, _ = SCHEDULES["i2sb"].coefficients(t)
    assert 1.001 < (a + b).max() < 1.002
    torch.testing.assert_close(
        BrownianSchedule().rho(t), SCHEDULES["i2sb"].rho(t), rtol=0, atol=0.01
    )


def test_brownian_bridge_of_constant_diffusion_is_the_textbook_one():
    schedule, t = BrownianSchedule(0.25, 0.25), torch.linspace(1e-4, 1, 11, dtype=torch.float64)
    a, b, c = schedule.coefficients(t)
    torch.testing.assert_close(a, t)
    torch.testing.assert_close(b, 1 - t)
    torch.testing.assert_close(c, (0.25 * t * (1 - t)).sqrt())


@pytest.mark.parametrize("name", ["vp", "ve", "brownian"])
def test_drift_and_diffusion_belong_to_alpha_and_rho(name):
    """f = d log alpha / dt and g^2 = alpha^2 d rho^2 / dt."""
    schedule = ALL_SCHEDULES[name]
    t = schedule.t_max * torch.tensor([0.1, 0.3, 0.7, 0.9], dtype=torch.float64)
    t.requires_grad_()
    (f,) = torch.autograd.grad(schedule.alpha(t).log().sum() + 0 * t.sum(), t)
    (d_rho2,) = torch.autograd.grad(schedule.rho(t).square().sum(), t)
    torch.testing.assert_close(schedule.f(t), f)
    torch.testing.assert_close(schedule.g2(t), schedule.alpha(t) ** 2 * d_rho2)


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_signal_falls_from_x_0_to_x_T_over_the_range(name):
    schedule = ALL_SCHEDULES[name]
    t = schedule.uniform_times(torch.linspace(0, 1, 201))
    assert (t[0].item(), t[-1].item()) == (schedule.t_min, schedule.t_max)
    a, b, c = schedule.coefficients(t)
    assert (a.diff() >= 0).all()
    assert (b.diff() <= 0).all()
    assert a[0] < 0.001
    assert b[0] > 0.999
    assert b[-1] < 0.002
    assert c[0] < 0.02 < c[100]
    assert (schedule.lambda_(t[:-1]).diff() < 0).all()


def test_i2sb_snaps_to_its_table_and_the_others_do_not():
    t = torch.linspace(1e-4, 1, 777, dtype=torch.float64)
    schedule = SCHEDULES["i2sb"]
    snapped = schedule.snap(t)
    assert torch.equal(schedule.index(snapped), schedule.index(t))
    assert torch.equal(schedule.snap(snapped), snapped)
    assert 0 < (snapped - t).abs().max() <= 0.5 / 999 + 1e-4
    assert torch.equal(VPSchedule().snap(t), t)


@pytest.mark.parametrize("name", ALL_SCHEDULES)
@pytest.mark.parametrize(
    "preconditioning", [DDBMPreconditioning(), I2SBPreconditioning()], ids=["ddbm", "i2sb"]
)
def test_float32_loss_is_finite_over_the_whole_range(name, preconditioning):
    schedule = ALL_SCHEDULES[name]
    denoiser = BridgeDenoiser(ToyNetwork(), schedule, preconditioning)
    generator = torch.Generator().manual_seed(0)
    x_0, x_T = torch.rand(2, 64, 3, 8, 8, generator=generator) * 2 - 1
    eps = torch.randn(x_0.shape, generator=generator)
    batch = {"x_0": x_0, "x_T": x_T}
    values = BridgeMatching().at(denoiser, batch, torch.linspace(0, 1, 64).double(), eps)
    assert values["loss"].isfinite().all()
    assert values["error"][0] < 1e-3  # next to x_0 the denoiser passes it on, as it is


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VPSchedule(beta_min=0), "beta_min=0"),
        (lambda: VESchedule(sigma_max=0.001), "sigma_max=0.001, t_min=0.002"),
        (lambda: BrownianSchedule(1.0, 0.1), "beta_min=1.0, beta_max=0.1"),
        (lambda: I2SBSchedule(beta_min=0.0), "beta_min=0.0"),
        (lambda: I2SBSchedule(n_timestep=999), "n_timestep=999"),
    ],
)
def test_bad_schedules_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
