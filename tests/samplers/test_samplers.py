"""What samplers, their noise and their grids promise, beyond the published numbers."""

import logging
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from golden_data import SCHEDULES, ToyNetwork

from dbim_lightning.bridge import (
    BridgeDenoiser,
    BrownianSchedule,
    DDBMPreconditioning,
    VPSchedule,
    dbim_transition,
)
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import (
    DBIM,
    DDBM,
    ECSI,
    Cosine,
    DBMSolver,
    ImageNoise,
    Karras,
    KarrasSigma,
    Listed,
    Uniform,
    UniformLambda,
)
from dbim_lightning.samplers.grids import falling_times

SCHEDULE = VPSchedule()
DENOISER = BridgeDenoiser(ToyNetwork(), SCHEDULE, DDBMPreconditioning())
SOURCES = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
NAMED = {
    "eta0": DBIM(5),
    "eta0.5": DBIM(5, eta=0.5),
    "eta1": DBIM(5, eta=1.0),
    "eta1.5": DBIM(5, eta=1.5, grid=Karras(3, start=0.95)),
    "fast": DBIM(5, eta=6.0, grid=KarrasSigma()),
    "order3": DBIM(6, order=3),
    "noisy order3": DBIM(6, eta=1.2, order=3),
    "ddbm": DDBM(8),
    "ecsi": ECSI(6),
    "dbm_solver": DBMSolver(6),
}
SAMPLERS, IDS = list(NAMED.values()), list(NAMED)
ALL_SCHEDULES = SCHEDULES | {"brownian": BrownianSchedule()}


def sample(indices, seed=0, sampler=SAMPLERS[1], **options):
    noise = ImageNoise(seed, indices)
    return sampler.sample(DENOISER, SCHEDULE, SOURCES[indices], noise, **options)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_sample_depends_on_image_not_on_batch(sampler):
    together = sample([0, 1, 2, 3, 4, 5, 6], sampler=sampler)
    apart = sample([5, 2], sampler=sampler)
    torch.testing.assert_close(apart, together[[5, 2]], rtol=0, atol=0)
    assert (sample([5, 2], seed=1, sampler=sampler) - apart).abs().mean() > 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_memory_layout_of_the_sources_changes_nothing(sampler):
    def run(x_T):
        return sampler.sample(DENOISER, SCHEDULE, x_T, ImageNoise(0, range(7)))

    expected = run(SOURCES)
    torch.testing.assert_close(run(SOURCES.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(run(SOURCES.repeat_interleave(2, 0)[::2]), expected)


def test_sources_and_injected_noise_are_left_as_they_were():
    x_T, eps = SOURCES.clone(), torch.randn_like(SOURCES)
    before = eps.clone()
    for sampler in SAMPLERS:
        sampler.sample(lambda x, t, x_T: x_T, SCHEDULE, x_T, lambda x: eps)
    assert torch.equal(x_T, SOURCES)
    assert torch.equal(eps, before)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
@pytest.mark.parametrize("kept", [lambda x: x, lambda x: x[1:3], lambda x: x.numpy()])
def test_what_a_denoiser_and_on_step_receive_is_theirs_to_keep(sampler, kept):
    """The tensor, a view of it, or an array over it: it stays as it was, and so does the sample."""
    held, copies = [], []

    def keep(x):
        held.append(kept(x))
        copies.append(kept(x.clone()))

    def denoise(x, t, x_T):
        keep(x)
        return DENOISER(x, t, x_T)

    def on_step(step, t, x, x_0_hat):
        keep(x)
        keep(x_0_hat)

    noise = ImageNoise(0, range(7))
    out = sampler.sample(denoise, SCHEDULE, SOURCES, noise, on_step=on_step)
    for value, copy in zip(held, copies, strict=True):
        assert (value == copy).all()
    assert torch.equal(out, sample(list(range(7)), sampler=sampler))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("order", [2, 3])
def test_a_denoiser_may_return_one_buffer_again_and_again(order, clip):
    """As compiled ones do: multistep needs its earlier answers, too."""
    sampler, buffer = DBIM(8, order=order, clip_denoised=clip), torch.empty_like(SOURCES)

    def reusing(x, t, x_T):
        return buffer.copy_(DENOISER(x, t, x_T))

    noise = [ImageNoise(0, range(7)) for _ in range(2)]
    expected = sampler.sample(DENOISER, SCHEDULE, SOURCES, noise[0])
    assert torch.equal(sampler.sample(reusing, SCHEDULE, SOURCES, noise[1]), expected)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_with_gradients_all_states_are_new_and_depend_on_the_source(sampler):
    x_T = SOURCES[:2].clone().requires_grad_()

    def denoise(x, t, spare=None):
        return DENOISER(x, t.expand(2), x_T)

    states = list(sampler.states(denoise, SCHEDULE, x_T, ImageNoise(0, range(2))))
    assert len({state.x.data_ptr() for state in states}) == len(states)
    states[-1].x.sum().backward()
    assert x_T.grad.abs().min() > 0


def test_states_are_made_in_the_memory_of_earlier_ones_that_nobody_holds():
    seen = set()

    def denoise(x, t, x_T):
        seen.add(x.data_ptr())
        return x_T

    DBIM(20).sample(denoise, SCHEDULE, SOURCES, ImageNoise(0, range(7)))
    assert len(seen) == 2  # x_T, and one for all states


def test_seed_changes_sample_and_is_reproducible():
    assert torch.equal(sample([1, 2], seed=3), sample([1, 2], seed=3))
    assert (sample([1, 2], seed=3) - sample([1, 2], seed=4)).abs().mean() > 1e-3


def test_noise_is_standard_normal_and_differs_between_images_and_draws():
    noise = ImageNoise(0, range(4))
    x = torch.empty(4, 3, 64, 64)
    draws = torch.stack([noise(x), noise(x)]).flatten(2).flatten(0, 1)
    assert draws.mean().abs() < 4 / draws.numel() ** 0.5
    assert (draws.corrcoef() - torch.eye(8)).abs().max() < 5 / draws.shape[1] ** 0.5
    assert (draws.std(dim=1) - 1).abs().max() < 0.05


def test_noise_for_another_batch_size_is_refused():
    with pytest.raises(UserError, match=r"2 image indices.* 3 images"):
        ImageNoise(0, [0, 1])(torch.empty(3, 1, 1, 1))


def test_eta_0_draws_booting_noise_only():
    draws = []

    def noise(x):
        draws.append(torch.randn_like(x))
        return draws[-1]

    DBIM(6, eta=0).sample(DENOISER, SCHEDULE, SOURCES, noise)
    assert len(draws) == 1
    DBIM(6, eta=1).sample(DENOISER, SCHEDULE, SOURCES, noise)
    assert len(draws) == 1 + 5  # boot, and four of the five steps


@pytest.mark.parametrize("name", ALL_SCHEDULES)
@pytest.mark.parametrize("sampler", [DBIM(5, eta=1), DBIM(5, order=3)], ids=["eta1", "order3"])
def test_perfect_denoiser_gives_its_answer_up_to_the_noise_at_t_min(name, sampler):
    schedule, x_0 = ALL_SCHEDULES[name], SOURCES.flip(0)
    out = sampler.sample(lambda x, t, x_T: x_0, schedule, SOURCES, ImageNoise(0, range(7)))
    c_min = schedule.coefficients(torch.tensor(schedule.t_min, dtype=torch.float64)).c
    assert (out - x_0).abs().max() < 6 * c_min


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_ddbm_with_a_perfect_denoiser_comes_closer_with_nfe(name):
    schedule, x_0 = ALL_SCHEDULES[name], SOURCES.flip(0)
    few, many = (
        DDBM(nfe).sample(lambda x, t, x_T: x_0, schedule, SOURCES, ImageNoise(0, range(7)))
        for nfe in (8, 50)
    )
    c_min = schedule.coefficients(torch.tensor(schedule.t_min, dtype=torch.float64)).c
    assert (many - x_0).abs().mean() < c_min
    assert (many - x_0).abs().mean() < (few - x_0).abs().mean()


@pytest.mark.parametrize("sampler", [DBIM(5), DDBM(5)], ids=["dbim", "ddbm"])
def test_known_region_of_every_estimate_is_the_source(sampler):
    mask = torch.zeros(7, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    seen = []
    sample(list(range(7)), sampler=sampler, mask=mask, on_step=lambda *state: seen.append(state))
    for _, _, x, x_0 in seen:
        assert x.dtype == torch.float32
        torch.testing.assert_close(x_0[..., 4:], SOURCES[..., 4:], rtol=0, atol=0)
        assert (x_0[..., :4] - SOURCES[..., :4]).abs().mean() > 0.01


def test_trajectory_of_dbim_is_its_grid_and_ends_in_the_sample():
    seen = []
    out = sample([0, 1], on_step=lambda *state: seen.append(state))
    steps, times, states, _ = zip(*seen, strict=True)
    assert steps == (0, 1, 2, 3, 4)
    assert times == tuple(falling_times(Uniform(), SCHEDULE, 0.999, 4).tolist())
    assert torch.equal(states[-1].clamp(-1, 1), out)
    for earlier, later in pairwise(states):
        assert (earlier - later).abs().mean() > 1e-3  # each its own tensor, never overwritten


def test_trajectory_of_ddbm_has_two_states_a_step_and_ends_at_0():
    seen = []
    out = sample([0, 1], sampler=DDBM(8), on_step=lambda *state: seen.append(state))
    steps, times, states, _ = zip(*seen, strict=True)
    assert steps == (0, 1, 2, 3, 4, 5)
    assert list(times) == sorted(times, reverse=True)
    assert times[-1] == 0
    assert torch.equal(states[-1].clamp(-1, 1), out)


@pytest.mark.parametrize("sampler", [*SAMPLERS, DDBM(7, 0.0), DBMSolver(2)])
def test_denoiser_is_called_nfe_times(sampler):
    calls = []

    def denoise(x, t, x_T):
        calls.append(t)
        return DENOISER(x, t, x_T)

    sampler.sample(denoise, SCHEDULE, SOURCES, ImageNoise(0, range(7)))
    assert len(calls) == sampler.nfe


@pytest.mark.parametrize(
    ("asked", "churn", "made"),
    [
        *[(2, 0.33, 2), (3, 0.33, 2), (4, 0.33, 5), (10, 0.33, 11), (11, 0.33, 11)],
        *[(20, 0.33, 20), (50, 0.33, 50), (100, 0.33, 101), (119, 0.33, 119)],
        *[(1, 0.0, 1), (4, 0.0, 3), (13, 0.0, 13)],
    ],
)
def test_ddbm_makes_the_nearest_nfe_and_says_so_once(asked, churn, made, caplog):
    with caplog.at_level(logging.WARNING):
        sampler = DDBM(asked, churn)
    assert sampler.calls == made
    assert len(caplog.records) == (asked != made)
    assert all(f"nfe={asked}" in m and str(made) in m for m in caplog.messages)


def test_dbm_solver_makes_an_even_nfe_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert [DBMSolver(nfe).calls for nfe in (2, 5, 6)] == [2, 4, 6]
    assert caplog.messages == ["nfe=5: DBMSolver makes 2n calls, here 4"]


def test_the_form_of_omega_is_published_up_to_eta_1():
    forms = {(0, 1): "published", (1, 1): "published", (0, 3): "published"}
    forms |= {(1.01, 1): "exponential", (1.5, 2): "exponential"}
    assert {key: DBIM(5, *key).form for key in forms} == forms
    assert DBIM(5, 0.5, 2, omega="exponential").form == "exponential"


def test_order_2_and_3_equal_eta_0_where_they_have_no_room():
    for nfe in (2, 3):
        plain = sample([0, 1], sampler=DBIM(nfe))
        for order in (2, 3):
            assert torch.equal(sample([0, 1], sampler=DBIM(nfe, order=order)), plain)
    assert not torch.equal(
        sample([0, 1], sampler=DBIM(4, order=2)), sample([0, 1], sampler=DBIM(4))
    )


@pytest.mark.parametrize("name", ALL_SCHEDULES)
@pytest.mark.parametrize("own", [None, 0.7])
@pytest.mark.parametrize(
    "grid",
    [Uniform(), Cosine(), Karras(7), Karras(2), KarrasSigma(sigma_max=None), UniformLambda()],
    ids=repr,
)
def test_grids_fall_from_start_to_t_min(name, grid, own):
    schedule = ALL_SCHEDULES[name]
    start = own or schedule.t_max - 1e-3
    grid, asked = replace(grid, start=own), schedule.t_max - 1e-3
    times = falling_times(grid, schedule, asked, 10)
    assert times.shape == (11,)
    assert (times.diff() < 0).all()
    ends = torch.tensor([start, schedule.t_min], dtype=torch.float64)
    torch.testing.assert_close(times[[0, -1]], ends, rtol=1e-12, atol=0)


def test_cosine_grid_has_the_times_of_its_formula():
    times = falling_times(Cosine(start=0.9), SCHEDULE, 0.999, 4)
    u = torch.arange(5, dtype=torch.float64) / 4
    expected = 0.9 + (1e-4 - 0.9) * (1 - torch.cos(torch.pi * u)) / 2
    torch.testing.assert_close(times, expected, rtol=1e-12, atol=0)


def test_start_moves_the_booted_state():
    seen = []
    sampler = DBIM(3, eta=1.5, grid=Karras(3, start=0.95))
    sample([0, 1], sampler=sampler, on_step=lambda step, t, *_: seen.append(t))
    assert seen[0] == pytest.approx(0.95)
    assert seen[2] == pytest.approx(1e-4)


@pytest.mark.parametrize("order", [2, 3])
def test_a_perfect_estimate_makes_order_irrelevant(order):
    """With the estimate fixed all orders are the same exact step."""
    x_0, noises = SOURCES.flip(0), [ImageNoise(0, range(7)) for _ in range(2)]
    states = [
        list(
            DBIM(8, eta=1.5, order=n, omega="exponential").states(
                lambda x, t, spare=None: x_0, SCHEDULE, SOURCES, noise
            )
        )[-1].x
        for n, noise in zip((1, order), noises, strict=True)
    ]
    torch.testing.assert_close(*states)


@pytest.mark.parametrize("name", ["vp", "ve", "brownian"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_both_forms_of_omega_are_one_at_eta_0_and_1(name, eta):
    schedule = ALL_SCHEDULES[name]
    times = falling_times(UniformLambda(), schedule, schedule.t_max - 1e-3, 9)
    steps = [
        dbim_transition(schedule, times[:-1], times[1:], eta, form)
        for form in ("published", "exponential")
    ]
    for published, exponential in zip(*steps, strict=True):
        torch.testing.assert_close(published, exponential, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["vp", "ve", "brownian", "i2sb"])
@pytest.mark.parametrize("eta", [0.5, 1.5, 3.0])
def test_the_exponential_form_keeps_the_marginals(name, eta):
    """The variance after a step from the marginal at s is that of the marginal at t."""
    schedule = ALL_SCHEDULES[name]
    times = falling_times(Uniform(), schedule, schedule.t_max - 1e-3, 9)
    s, t = times[:-1], times[1:]
    k, k_0, k_T, omega = dbim_transition(schedule, s, t, eta, "exponential")
    (a_s, b_s, c_s), (a_t, b_t, c_t) = schedule.coefficients(s), schedule.coefficients(t)
    torch.testing.assert_close(k * a_s + k_T, a_t)
    torch.testing.assert_close(k * b_s + k_0, b_t)
    torch.testing.assert_close((k * c_s) ** 2 + omega**2, c_t**2)
    h = schedule.lambda_(t) - schedule.lambda_(s)
    torch.testing.assert_close(k * c_s / c_t, torch.exp(-eta * h))


@pytest.mark.parametrize("name", ["vp", "ve", "brownian"])
def test_lambda_grid_has_equal_steps_of_lambda(name):
    schedule = ALL_SCHEDULES[name]
    times = falling_times(UniformLambda(), schedule, schedule.t_max - 1e-3, 20)
    steps = schedule.lambda_(times).diff()
    torch.testing.assert_close(steps, steps.mean().expand(20), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["vp", "ve", "brownian"])
def test_sigma_grid_has_equal_steps_of_a_root_of_noise_over_signal(name):
    schedule = ALL_SCHEDULES[name]
    times = falling_times(KarrasSigma(3, sigma_max=2.5), schedule, schedule.t_max - 1e-3, 20)
    _, b, c = schedule.coefficients(times)
    torch.testing.assert_close(c[0] / b[0], torch.tensor(2.5, dtype=torch.float64))
    assert times[-1] == schedule.t_min
    steps = ((c / b) ** (1 / 3)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(20), rtol=1e-5, atol=0)


@pytest.mark.parametrize("grid", [KarrasSigma(), KarrasSigma(sigma_max=None), UniformLambda()])
def test_grids_up_to_t_max_itself_are_usable_as_training_times(grid):
    times = grid(SCHEDULE, SCHEDULE.t_max, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    assert (times.diff() > 0.01).all()


def test_a_sigma_max_that_no_time_has_is_named():
    with pytest.raises(UserError, match=r"sigma_max=0.001 .* more than the 0.003\d+ .* VPSchedule"):
        falling_times(KarrasSigma(sigma_max=0.001), SCHEDULE, 0.999, 4)


def test_an_own_start_of_the_sigma_grid_is_not_limited():
    times = falling_times(KarrasSigma(start=0.99), SCHEDULE, 0.999, 4)
    assert times[0] == 0.99


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DBIM(1), r"nfe=1: .*from 2"),
        (lambda: DBIM(2.5), r"nfe=2.5"),
        (lambda: DBIM(5, eta=1.1, omega="published"), r"eta=1.1 in the published form.* 0 to 1"),
        (lambda: DBIM(5, eta=float("nan")), r"eta=nan: use 0 or more"),
        (lambda: DBIM(5, omega="other"), r"form=other .*published or exponential"),
        (lambda: DBIM(5, eta=-0.1), r"eta=-0.1"),
        (lambda: DBIM(5, order=4), r"order=4: .*1, 2 or 3"),
        (lambda: DBIM(5, order=0), r"order=0"),
        (
            lambda: DBIM(5, eta=0.5, order=2, omega="published"),
            r"eta=0.5 with order=2 .*order=1, or omega=exponential",
        ),
        (lambda: ECSI(2), r"nfe=2: .*from 3"),
        (lambda: ECSI(5, eta=-0.5), r"eta=-0.5: use 0 or more"),
        (lambda: DBMSolver(1), r"nfe=1: .*from 2"),
        (lambda: DBMSolver(4, midpoint="t"), r"midpoint=t .*log_rho or time"),
        (lambda: Karras(float("inf")), r"rho=inf"),
        (lambda: DDBM(1), r"nfe=1: .*from 2"),
        (lambda: DDBM(0, 0.0), r"nfe=0: .*from 1"),
        (lambda: DDBM(5, 1.0), r"churn_step_ratio=1.0: .*\[0, 1\)"),
        (lambda: Karras(0), r"rho=0"),
        (lambda: KarrasSigma(rho=-1.0), r"rho=-1.0 of the sigma grid"),
        (lambda: KarrasSigma(sigma_max=0.0), r"sigma_max=0.0 of the sigma grid"),
        (lambda: Listed([]), r"times=\[\]"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


BAD_NAN = SOURCES.clone()
BAD_NAN[3, 1, 2, 2] = torch.nan
BAD_INPUT = [
    ({"x_T": SOURCES.clamp(min=0) * 1.5}, r"x_T: .* from 0 to 1\.\d+, .*\[-1, 1\].*127.5"),
    ({"x_T": SOURCES.clamp(max=0) * 1.5}, r"x_T: .* from -1\.\d+ to .*\[-1, 1\]"),
    ({"x_T": BAD_NAN}, r"x_T: .*nan"),
    ({"x_T": (SOURCES * 127 + 128).byte()}, r"x_T: torch.uint8"),
    ({"mask": torch.ones(7, 1, 4, 4)}, r"mask of shape \(7, 1, 4, 4\).*\(7, 1, 8, 8\)"),
    ({"mask": torch.ones(7, 5, 8, 8)}, r"mask of shape \(7, 5, 8, 8\)"),
    ({"noise": ImageNoise(0, range(4))}, r"4 image indices.* 7 images"),
]


@pytest.mark.parametrize(("change", "message"), BAD_INPUT)
@pytest.mark.parametrize("sampler", [DBIM(5), DDBM(5)], ids=["dbim", "ddbm"])
def test_bad_input_is_named_before_any_network_call(sampler, change, message):
    def denoise(*args):
        raise AssertionError("called")

    good = {"x_T": SOURCES, "noise": ImageNoise(0, range(7)), "mask": None}
    with pytest.raises(UserError, match=message):
        sampler.sample(denoise, SCHEDULE, **(good | change))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("sampler", [DBIM(5, eta=1), DDBM(8)], ids=["dbim", "ddbm"])
def test_bad_estimate_is_named_with_its_step_and_time(sampler, bad):
    times = []

    def denoise(x, t, x_T):
        times.append(t[0].item())
        x_0 = x_T.clone()
        if len(times) == 3:
            x_0[5, 0, 0, 0] = bad
        return x_0

    with pytest.raises(UserError) as error:
        sampler.sample(denoise, SCHEDULE, SOURCES, ImageNoise(0, range(7)))
    assert f"step 3 of {sampler.nfe}" in str(error.value)
    assert f"t={times[2]:.6g}" in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (DBIM(5, grid=Listed([0.9, 0.5, 1e-4])), "has 3 times.* 5"),
        (DBIM(3, grid=Listed([0.9, 0.95, 1e-4])), "must fall"),
        (DBIM(3, grid=Listed([1.0, 0.5, 1e-4])), "below t_max=1"),
        (DBIM(3, grid=Listed([0.9, 0.5, 0.0])), "t_min=0.0001"),
        (DDBM(5, grid=Listed([0.9, 0.5, 1e-4])), "has 3 times.* 2"),
        (
            DBIM(3, grid=Karras(start=1.0)),
            r"start=1\.0 .*t_min=0\.0001 and t_max=1 of the VPSchedule",
        ),
        (DBIM(3, grid=Uniform(start=1e-4)), r"start=0\.0001 .*between"),
        (ECSI(3, grid=UniformLambda(start=-1)), r"start=-1 .*between"),
        (ECSI(3, grid=Karras(start=0.95)), r"begins at t=0\.95, .* above 0\.990001, .*dbim"),
        (DDBM(5, grid=Uniform(start=0.9)), r"begins at t=0\.9, .* above 0\.990001, .*dbim"),
    ],
)
def test_bad_grids_are_named(sampler, message):
    with pytest.raises(UserError, match=message):
        sampler.sample(DENOISER, SCHEDULE, SOURCES, ImageNoise(0, range(7)))


def test_i2sb_grid_that_is_too_fine_is_refused():
    schedule, x_T = SCHEDULES["i2sb"], SOURCES[:1]
    for fine in (DBIM(1100), DBIM(20, grid=Karras(7)), DBIM(1000, order=2)):
        with pytest.raises(
            UserError, match=r"nfe=\d+ .* one index of the I2SBSchedule.* fewer NFE"
        ):
            fine.sample(lambda x, t, x_T: x_T, schedule, x_T, ImageNoise(0, [0]))
    fine_enough = DBIM(500, order=3)
    out = fine_enough.sample(lambda x, t, x_T: x_T, schedule, x_T, ImageNoise(0, [0]))
    assert out.isfinite().all()
