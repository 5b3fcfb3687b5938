"""Encoding: images to booting noises and back, on bridges that are known exactly."""

import logging
import re

import pytest
import torch
from closed_form import MixtureBridge, harmless_grid, slope, trajectory
from golden_data import SCHEDULES, ToyNetwork

from dbim_lightning.bridge import (
    BridgeDenoiser,
    BrownianSchedule,
    DDBMPreconditioning,
    VPSchedule,
)
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, DDBM, ImageNoise, Karras, KarrasSigma
from dbim_lightning.samplers.latents import Code, decode, encode, interpolate

ALL_SCHEDULES = SCHEDULES | {"brownian": BrownianSchedule()}
SCHEDULE = VPSchedule()
TOY = BridgeDenoiser(ToyNetwork(), SCHEDULE, DDBMPreconditioning())
SOURCES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
SAMPLER = DBIM(12, grid=KarrasSigma())


def noise_of_trajectory():
    """The booting noise of `closed_form.trajectory`."""
    generator = torch.Generator().manual_seed(0)
    x_T = torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64)
    return torch.randn(x_T.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_exact_inversion_returns_the_code_of_a_sample(name):
    bridge = MixtureBridge(ALL_SCHEDULES[name])
    sampler = DBIM(20, clip_denoised=False, grid=KarrasSigma())
    states, x_T = trajectory(bridge, sampler)
    code = encode(bridge, bridge.schedule, states[-1], x_T, sampler, tolerance=1e-13)
    assert (code.eps - noise_of_trajectory()).abs().max() < 1e-8
    assert code.residual.max() <= 1e-13
    assert 20 < code.calls < 400


def test_explicit_encoding_converges_at_first_order():
    bridge, steps, errors = MixtureBridge(SCHEDULE), [40, 80, 160, 320], []
    fine = DBIM(2001, order=3, clip_denoised=False, grid=harmless_grid(SCHEDULE, 2000))
    states, x_T = trajectory(bridge, fine)
    for n in steps:
        sampler = DBIM(n + 1, clip_denoised=False, grid=harmless_grid(SCHEDULE, n))
        code = encode(bridge, SCHEDULE, states[-1], x_T, sampler, exact=False)
        assert code.calls == n + 1
        errors.append((code.eps - noise_of_trajectory()).square().mean().sqrt().item())
    assert 0.85 < slope(steps, errors) < 1.15


def test_explicit_steps_take_the_estimate_at_their_lower_end():
    called = []

    def denoise(x, t, x_T):
        called.append(t[0].item())
        return TOY(x, t, x_T)

    encode(denoise, SCHEDULE, SOURCES, SOURCES, SAMPLER, exact=False)
    assert called == [*SAMPLER.times(SCHEDULE)[1:].flip(0).tolist(), SCHEDULE.t_max]


def test_a_code_gives_its_image_back():
    images = SAMPLER.sample(TOY, SCHEDULE, SOURCES, ImageNoise(0, range(4)))
    code = encode(TOY, SCHEDULE, images, SOURCES, SAMPLER)
    again = decode(TOY, SCHEDULE, code, SOURCES, SAMPLER)
    assert (again - images).square().mean().sqrt() < 1e-4
    explicit = encode(TOY, SCHEDULE, images, SOURCES, SAMPLER, exact=False)
    worse = decode(TOY, SCHEDULE, explicit, SOURCES, SAMPLER)
    assert (worse - images).square().mean() > (again - images).square().mean()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_code_is_decoded_by_any_order(order):
    """Of many steps all orders give the image of the fine code."""
    fine = DBIM(200, grid=KarrasSigma())
    images = fine.sample(TOY, SCHEDULE, SOURCES, ImageNoise(0, range(4)))
    code = encode(TOY, SCHEDULE, images, SOURCES, fine, exact=False)
    again = decode(TOY, SCHEDULE, code, SOURCES, DBIM(100, order=order, grid=KarrasSigma()))
    assert (again - images).square().mean().sqrt() < 0.02
    others = ImageNoise(1, range(4))(SOURCES)
    elsewhere = decode(TOY, SCHEDULE, code.of(others), SOURCES, DBIM(100, grid=KarrasSigma()))
    assert (elsewhere - images).square().mean().sqrt() > 0.1


def test_labels_reach_the_network():
    def labelled(x, t, x_T, y):
        return TOY(x, t, x_T) * y[:, None, None, None]

    y = torch.tensor([0.2, 0.4, 0.6, 0.8])
    images = SAMPLER.sample(labelled, SCHEDULE, SOURCES, ImageNoise(0, range(4)), y=y)
    code = encode(labelled, SCHEDULE, images, SOURCES, SAMPLER, y=y)
    again = decode(labelled, SCHEDULE, code, SOURCES, SAMPLER, y=y)
    torch.testing.assert_close(again, images, rtol=0, atol=1e-3)
    wrong = decode(labelled, SCHEDULE, code, SOURCES, SAMPLER, y=y.flip(0))
    assert (wrong - images).abs().max() > 0.05


def test_known_pixels_stay_those_of_the_source():
    mask = torch.zeros(4, 1, 8, 8)
    mask[..., :4] = 1
    images = SAMPLER.sample(TOY, SCHEDULE, SOURCES, ImageNoise(0, range(4)), mask=mask)
    elsewhere = images.where(mask > 0, -images)
    code = encode(TOY, SCHEDULE, elsewhere, SOURCES, SAMPLER, mask=mask)
    again = decode(TOY, SCHEDULE, code, SOURCES, SAMPLER, mask=mask)
    hole = mask.expand_as(images) > 0
    torch.testing.assert_close(again[hole], images[hole], rtol=0, atol=1e-3)
    torch.testing.assert_close(again[~hole], SOURCES[~hole], rtol=0, atol=0.03)


def test_steps_that_are_not_solved_are_said(caplog):
    images = SAMPLER.sample(TOY, SCHEDULE, SOURCES, ImageNoise(0, range(4)))
    with caplog.at_level(logging.WARNING):
        code = encode(TOY, SCHEDULE, images, SOURCES, SAMPLER, tolerance=1e-9, max_calls=2)
    assert code.residual.max() > 1e-9
    assert len(caplog.messages) == 1
    pattern = r"(\d+) steps miss images; .* from t=(.*) to (.*), (\d) of 4 by up to (.*): use more"
    steps, s, t, count, by = map(float, re.match(pattern, caplog.messages[0]).groups())
    times = SAMPLER.times(SCHEDULE).tolist()
    assert 1 <= steps <= len(times) - 1 and 1 <= count <= 4
    assert any(s == pytest.approx(u, rel=1e-3) for u in times) and s > t
    assert by == pytest.approx(code.residual.max().item(), rel=0.1)


def test_between_two_codes_all_are_standard_normal():
    eps = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    between = interpolate(eps[0], eps[1], [0, 0.25, 0.5, 1])
    assert between.shape == (4, 3, 3, 32, 32)
    torch.testing.assert_close(between[0], eps[0])
    torch.testing.assert_close(between[3], eps[1])
    assert (between.flatten(2).std(dim=2) - 1).abs().max() < 0.03
    torch.testing.assert_close(interpolate(eps[0], eps[0], [0.3])[0], eps[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode(TOY, SCHEDULE, SOURCES[:2], SOURCES, SAMPLER), r"images of \(2, .*\(4, "),
        (
            lambda: encode(TOY, SCHEDULE, SOURCES, SOURCES, DBIM(5, eta=0.5)),
            r"eta=0.5.*: .* DBIM at eta=0 alone",
        ),
        (
            lambda: decode(TOY, SCHEDULE, code_of(4), SOURCES, DBIM(5, eta=1.0)),
            "eta=1.0.* at eta=0",
        ),
        (lambda: encode(TOY, SCHEDULE, SOURCES, SOURCES, DDBM(5)), r"DDBM\(.*for DBIM at eta=0"),
        (lambda: decode(TOY, SCHEDULE, code_of(4), SOURCES, DDBM(5)), r"DDBM\(.*for DBIM at"),
        (lambda: encode(TOY, SCHEDULE, 127.5 * SOURCES, SOURCES, SAMPLER), r"x_0: .* take x / 127"),
        (lambda: encode(TOY, SCHEDULE, SOURCES * torch.nan, SOURCES, SAMPLER), "x_0: .* from nan"),
        (lambda: encode(TOY, SCHEDULE, SOURCES[0], SOURCES[0], SAMPLER), r"give \(B, C, H, W\)"),
        (
            lambda: encode(TOY, SCHEDULE, SOURCES, SOURCES, SAMPLER, tolerance=torch.nan),
            "tolerance=nan, .* use more than 0",
        ),
        (
            lambda: encode(TOY, SCHEDULE, SOURCES, SOURCES, SAMPLER, mask=255 * (SOURCES > 0)),
            "mask from 0 to 255: use 1 in the hole",
        ),
        (
            lambda: decode(TOY, SCHEDULE, code_of(4).of(SOURCES / 0), SOURCES, SAMPLER),
            "a code with NaN or infinite values",
        ),
        (lambda: interpolate(SOURCES[0], SOURCES[0], [0.5]), r"give \(B, C, H, W\)"),
        (lambda: decode(TOY, SCHEDULE, code_of(2), SOURCES, SAMPLER), r"code of \(2, .*\(4, "),
        (
            lambda: decode(TOY, SCHEDULE, code_of(4), SOURCES, DBIM(5, grid=Karras(start=0.9))),
            r"boots at t=0.9\d+, the sampler at 0.9: use a grid",
        ),
        (lambda: interpolate(SOURCES, SOURCES[:2], [0.5]), r"codes of \(4, .* and \(2, "),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def code_of(count):
    return encode(TOY, SCHEDULE, SOURCES[:count], SOURCES[:count], SAMPLER, exact=False)


def test_times_that_are_one_to_a_table_are_named():
    with pytest.raises(UserError, match=r"nfe=55 .* two times fall on one index"):
        encode(TOY, SCHEDULES["i2sb"], SOURCES, SOURCES, DBIM(55, grid=KarrasSigma()))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_in_an_image_is_named_by_its_step(exact, value):
    def broken(x, t, x_T):
        return TOY(x, t, x_T) + (value if t[0] > 0.5 else 0)

    with pytest.raises(UserError, match=r"NaN or infinite values in step \d+"):
        encode(broken, SCHEDULE, SOURCES, SOURCES, SAMPLER, exact=exact)


def test_iterations_that_diverge_end_with_a_warning_and_a_finite_code(caplog):
    sampler = DBIM(5, clip_denoised=False, grid=KarrasSigma())
    code = encode(lambda x, *_: 5 * x**9, SCHEDULE, SOURCES, SOURCES, sampler)
    assert code.eps.isfinite().all()
    assert code.residual.max() > 1e-3
    assert "steps miss images" in caplog.text


def test_a_code_is_a_noise():
    code = Code(torch.ones(2, 1, 2, 2), 0.9, torch.zeros(2), 1)
    assert code(torch.zeros(2, 1, 2, 2, dtype=torch.float64)).dtype == torch.float64
