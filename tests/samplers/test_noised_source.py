"""Bridges to x_T + beta z: their marginals, and samplers on them, with distributions known."""

import pytest
import torch
from closed_form import MixtureBridge, trajectory

from dbim_lightning.bridge import (
    BrownianSchedule,
    DDBMPreconditioning,
    I2SBSchedule,
    VESchedule,
    VPSchedule,
)
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, DDBM, ECSI, DBMSolver, ImageNoise, KarrasSigma
from dbim_lightning.samplers.latents import encode

BETA = 0.4
KINDS = {"vp": VPSchedule, "ve": VESchedule, "brownian": BrownianSchedule, "i2sb": I2SBSchedule}
X_T = torch.full((1, 1, 100, 100), 0.5, dtype=torch.float64)


def times(schedule):
    return schedule.uniform_times(torch.linspace(0.05, 1, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_of_the_source_is_in_the_marginals(kind):
    plain, noised = KINDS[kind](), KINDS[kind](source_noise=BETA)
    t = times(plain)
    (a, b, c), found = plain.coefficients(t), noised.coefficients(t)
    assert torch.equal(found.a, a) and torch.equal(found.b, b)
    torch.testing.assert_close(found.c**2, c**2 + BETA**2 * a**2)
    assert found.c[-1] == pytest.approx(BETA, rel=0.01)


def test_what_the_network_sees_is_as_if_sigma_T_had_grown():
    statistics, plain, noised = (0.6, 0.5, 0.2), VPSchedule(), VPSchedule(source_noise=BETA)
    t = times(plain)
    found = DDBMPreconditioning(*statistics)(noised, t, noised.coefficients(t))
    grown = DDBMPreconditioning(0.6, (0.5**2 + BETA**2) ** 0.5, 0.2)
    for one, expected in zip(found, grown(plain, t, plain.coefficients(t)), strict=True):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("kind", ["vp", "ve", "brownian"])
def test_rates_are_the_derivatives_of_the_coefficients(kind):
    schedule = KINDS[kind](source_noise=BETA)
    t = times(schedule)[:-1]
    for part in range(3):
        t.requires_grad_()
        (expected,) = torch.autograd.grad(schedule.coefficients(t)[part].sum(), t)
        torch.testing.assert_close(schedule.rates(t.detach())[part], expected)
        t = t.detach()


@pytest.mark.parametrize(
    "sampler",
    [
        DBIM(400, clip_denoised=False, grid=KarrasSigma()),
        DBIM(400, eta=1.0, clip_denoised=False),
        DBIM(1000, eta=3.0, clip_denoised=False, grid=KarrasSigma()),
        DBIM(50, order=2, clip_denoised=False, grid=KarrasSigma()),
    ],
    ids=["eta 0", "eta 1", "eta 3", "order 2"],
)
def test_samples_are_of_the_distribution_of_x_0(sampler):
    """One Gaussian of deviation 0.3 about 0.2."""
    schedule = VPSchedule(source_noise=BETA)
    bridge = MixtureBridge(schedule, (1.0,), (0.2,), (0.0,), (0.3,))
    samples = sampler.sample(bridge, schedule, X_T, ImageNoise(0, [0]))
    assert samples.mean() == pytest.approx(0.2, abs=0.01)
    assert samples.std() == pytest.approx(0.3, abs=0.01)


def test_the_first_call_sees_the_noise_of_the_source():
    states = []

    def denoise(x, t, x_T):
        states.append(x)
        return x_T

    DBIM(2).sample(denoise, VPSchedule(source_noise=BETA), X_T, ImageNoise(0, [0]))
    torch.testing.assert_close(states[0], X_T + BETA * ImageNoise(0, [0])(X_T))


def test_exact_inversion_finds_the_noise_of_the_source():
    bridge = MixtureBridge(VPSchedule(source_noise=BETA))
    sampler = DBIM(20, clip_denoised=False, grid=KarrasSigma())
    states, x_T = trajectory(bridge, sampler)
    code = encode(bridge, bridge.schedule, states[-1], x_T, sampler, tolerance=1e-13)
    again = sampler.sample(bridge, bridge.schedule, x_T, code)
    assert (again - states[-1].clamp(-1, 1)).abs().max() < 1e-8
    explicit = encode(bridge, bridge.schedule, states[-1], x_T, sampler, exact=False)
    assert (explicit.eps - code.eps).square().mean().sqrt() < 0.2


def test_a_network_that_heeds_the_noise_of_the_source_is_inverted_too():
    schedule = VPSchedule(source_noise=BETA)
    sampler = DBIM(20, clip_denoised=False, grid=KarrasSigma())
    x_T, states, noise = X_T[..., :8, :8], [], ImageNoise(0, [0])

    def denoise(x, t, x_T):
        return 0.5 * x.tanh()

    sampler.sample(denoise, schedule, x_T, noise, on_step=lambda *step: states.append(step[2]))
    code = encode(denoise, schedule, states[-1], x_T, sampler, tolerance=1e-13)
    assert (code.eps - ImageNoise(0, [0])(x_T)).abs().max() < 1e-8


@pytest.mark.parametrize("sampler", [DDBM(5), DBMSolver(6), ECSI(5)])
def test_samplers_that_follow_the_bridge_to_x_T_alone_say_so(sampler):
    schedule = VPSchedule(source_noise=BETA)
    with pytest.raises(UserError, match=r"source_noise=0\.4: .* use dbim"):
        sampler.sample(lambda *_: pytest.fail("called"), schedule, X_T, ImageNoise(0, [0]))


@pytest.mark.parametrize("kind", KINDS.values())
def test_noise_below_zero_is_named(kind):
    with pytest.raises(UserError, match=r"source_noise=-0\.1 of the schedule"):
        kind(source_noise=-0.1)
