"""Prior guidance around any sampler."""

import pytest
import torch
from golden_data import SCHEDULES, ToyNetwork

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, ECSI, DBMSolver, ImageNoise, Karras, PriorGuidance

SCHEDULE = VPSchedule()
DENOISER = BridgeDenoiser(ToyNetwork(), SCHEDULE, DDBMPreconditioning())
SOURCES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sample(sampler, denoiser=DENOISER, **options):
    noise = ImageNoise(0, range(len(SOURCES)))
    return sampler.sample(denoiser, SCHEDULE, SOURCES, noise, **options)


@pytest.mark.parametrize("inner", [DBIM(2), DBIM(2, eta=1.5, order=2), DBMSolver(2), ECSI(3)])
@pytest.mark.parametrize("low", [None, 2.0])
def test_every_sampler_makes_two_calls_for_an_estimate(inner, low):
    calls = []

    def counted(x, t, x_T):
        calls.append(t)
        return DENOISER(x, t, x_T)

    sampler = PriorGuidance(12, inner, weight=1.5, weight_low=low)
    assert sampler.sampler.nfe == 6
    sample(sampler, counted)
    assert len(calls) == sampler.calls == 12


@pytest.mark.parametrize("low", [None, 1.0])
def test_weights_of_1_leave_the_sampler_as_it_is(low):
    guided = PriorGuidance(10, DBIM(2), weight=1.0, weight_low=low)
    states = []
    sample(guided, on_step=lambda n, t, x, x_0: states.append(x_0))
    plain = []
    sample(DBIM(5), on_step=lambda n, t, x, x_0: plain.append(x_0))
    # The boot of both sees the same x_T; its noise is another draw in the guided one.
    torch.testing.assert_close(states[0], plain[0], atol=1e-6, rtol=0)


def test_an_estimate_goes_away_from_that_of_a_noisier_state():
    """With D = x_t the guided estimate is x_t - (w - 1) degradation c n."""
    guided = PriorGuidance(4, DBIM(2, clip_denoised=False), weight=3.0, degradation=0.5)
    estimates, t = [], torch.tensor(0.5, dtype=torch.float64)
    x, n = SOURCES, torch.ones_like(SOURCES)

    class Once(type(guided.sampler)):
        def states(self, denoise, schedule, x_T, noise):
            estimates.append(denoise(x, t))
            yield from ()

    object.__setattr__(guided, "sampler", Once(2, clip_denoised=False))
    list(guided.states(lambda x, t, spare=None: x, SCHEDULE, SOURCES, lambda x: n))
    c = SCHEDULE.coefficients(t).c.item()
    torch.testing.assert_close(estimates[0], x - 2 * 0.5 * c * n)


def test_bands_are_weighed_by_time():
    guided = PriorGuidance(4, DBIM(2), weight=2.0, weight_low=3.0)
    zero, flat = torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 6, 6)
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(3, 3)[None, None]
    middle = torch.tensor((SCHEDULE.t_min + 1) / 2, dtype=torch.float64)
    end = torch.tensor(SCHEDULE.t_min, dtype=torch.float64)

    def weight(difference, t):
        found = guided._away_from(zero, difference, SCHEDULE, t) / difference
        return found[..., 2, 2].item()

    assert weight(flat, middle) == pytest.approx(3.0)
    assert weight(flat, end) == pytest.approx(1.0)
    # A board of squares is a ninth of itself in means over 3 x 3 pixels.
    assert weight(checks, end) == pytest.approx(2 - 1 / 9)
    assert weight(checks, middle) == pytest.approx(1 + 2 / 9)


@pytest.mark.parametrize("clip", [True, False])
def test_guided_estimates_are_clipped_where_the_samplers_are(clip):
    largest = []
    guided = PriorGuidance(8, DBIM(2, clip_denoised=clip), weight=20.0)
    sample(guided, on_step=lambda n, t, x, x_0: largest.append(x_0.abs().max().item()))
    assert (max(largest) <= 1) == clip


def test_known_pixels_stay_the_source():
    mask = torch.zeros(4, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    x = sample(PriorGuidance(8, DBIM(2, eta=1.5, grid=Karras(3, start=0.95))), mask=mask)
    known = (mask == 0).expand_as(x)
    error = (x - SOURCES)[known].abs().max()
    assert error < 4 * SCHEDULES["vp"].coefficients(torch.tensor(1e-4).double()).c + 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nfe": 3}, "nfe=3 with guidance: use 4 or more"),
        ({"weight": 0.5}, "weight=0.5 of the guidance: use 1 or more"),
        ({"weight_low": float("nan")}, "weight_low=nan of the guidance"),
        ({"degradation": 0.0}, "degradation=0.0: use a positive number"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        PriorGuidance(**{"nfe": 8, "sampler": DBIM(2), **options})
