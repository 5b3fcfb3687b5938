"""Marginals, their rates, and the steps between them, in numbers."""

import pytest
import torch
from golden_data import SCHEDULES

from dbim_lightning.bridge import BrownianSchedule, Transition, VPSchedule, dbim_transition
from dbim_lightning.errors import UserError

EXACT = {"vp": SCHEDULES["vp"], "ve": SCHEDULES["ve"], "brownian": BrownianSchedule()}
GENERATOR = torch.Generator().manual_seed(0)
X_S, X_0_HAT, X_T, EPS = torch.randn(4, 5, 3, 4, 4, dtype=torch.float64, generator=GENERATOR)


def times(schedule, *fractions):
    """Float64 times of a schedule, fractions of its range."""
    return schedule.uniform_times(torch.tensor(fractions))


@pytest.mark.parametrize("name", EXACT)
def test_rates_are_the_derivatives_of_the_coefficients(name):
    schedule = EXACT[name]
    t = times(schedule, 0.001, 0.1, 0.3, 0.5001, 0.8, 0.99).requires_grad_()
    for coefficient, rate in zip(schedule.coefficients(t), schedule.rates(t), strict=True):
        (derivative,) = torch.autograd.grad(coefficient.sum(), t, retain_graph=True)
        torch.testing.assert_close(rate, derivative, rtol=1e-10, atol=1e-14)


def test_rates_of_the_i2sb_table_are_its_own_differences():
    schedule = SCHEDULES["i2sb"]
    t = torch.linspace(0, 999, 1000, dtype=torch.float64) / 999
    (a, b, c), rates = schedule.coefficients(t), schedule.rates(t)
    torch.testing.assert_close(rates.a[1:], a.diff() * 999, rtol=1e-9, atol=0)
    torch.testing.assert_close(rates.b[:-1], b.diff() * 999, rtol=1e-9, atol=0)
    central = (c[2:] - c[:-2]) * 999 / 2
    torch.testing.assert_close(rates.c[50:-50], central[49:-49], rtol=0, atol=0.002)


@pytest.mark.parametrize("name", [*EXACT, "i2sb"])
def test_a_scalar_time_and_a_batch_of_it_give_the_same_draw(name):
    schedule = (EXACT | SCHEDULES)[name]
    t = times(schedule, 0.4)
    a, b, c = schedule.coefficients(t[0])
    expected = a * X_T + b * X_0_HAT + c * EPS
    for times_ in (t[0], t.expand(5)):
        torch.testing.assert_close(schedule.q_sample(X_0_HAT, X_T, times_, EPS), expected)


@pytest.mark.parametrize("name", [*EXACT, "i2sb"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_step_carries_the_marginal_to_the_marginal(name, eta):
    """From x_s = a_s x_T + b_s x_0 + c_s eps, with x_0_hat = x_0: mean and variance at t."""
    schedule = (EXACT | SCHEDULES)[name]
    s, t = times(schedule, 0.8, 0.3)
    step, (_, _, c_s), (a_t, b_t, c_t) = (
        dbim_transition(schedule, s, t, eta),
        schedule.coefficients(s),
        schedule.coefficients(t),
    )
    mean = step(schedule.q_sample(X_0_HAT, X_T, s, 0 * EPS), X_0_HAT, X_T)
    torch.testing.assert_close(mean, a_t * X_T + b_t * X_0_HAT, rtol=0, atol=1e-13)
    torch.testing.assert_close((step.k * c_s) ** 2 + step.omega**2, c_t**2, rtol=1e-12, atol=0)
    with_noise = step(X_S, X_0_HAT, X_T, EPS)
    torch.testing.assert_close(with_noise - step(X_S, X_0_HAT, X_T), step.omega * EPS)
    assert (step.omega > 0) == (eta > 0)


def test_a_markovian_step_forgets_how_the_state_came_about():
    """At eta = 1 two steps s -> u -> t with one x_0_hat have the law of the step s -> t."""
    schedule = VPSchedule()
    s, u, t = times(schedule, 0.9, 0.6, 0.2)
    first, second = dbim_transition(schedule, s, u, 1.0), dbim_transition(schedule, u, t, 1.0)
    whole = dbim_transition(schedule, s, t, 1.0)
    torch.testing.assert_close(second.k * first.k, whole.k)
    torch.testing.assert_close((second.k * first.omega) ** 2 + second.omega**2, whole.omega**2)


@pytest.mark.parametrize("name", [*EXACT, "i2sb"])
@pytest.mark.parametrize("batched", [False, True])
def test_without_noise_a_step_up_undoes_the_step_down(name, batched):
    schedule = (EXACT | SCHEDULES)[name]
    for high, low in ((0.9, 0.1), (0.999, 0.0), (0.5, 0.4)):
        s, t = times(schedule, high, low)
        if batched:
            s, t = s.expand(5), t.expand(5)
        down, up = dbim_transition(schedule, s, t), dbim_transition(schedule, t, s)
        there = down(X_S, X_0_HAT, X_T)
        torch.testing.assert_close(up(there, X_0_HAT, X_T), X_S, rtol=0, atol=1e-12)
        back = down(up(X_S, X_0_HAT, X_T), X_0_HAT, X_T)
        torch.testing.assert_close(back, X_S, rtol=0, atol=1e-12)


def test_each_image_of_a_batch_takes_the_step_of_its_own_times():
    schedule = VPSchedule()
    s, t = times(schedule, 0.9, 0.8, 0.7, 0.6, 0.5), times(schedule, 0.4, 0.3, 0.2, 0.1, 0.0)
    together = dbim_transition(schedule, s, t, 0.5)(X_S, X_0_HAT, X_T, EPS)
    for i in range(5):
        step = dbim_transition(schedule, s[i], t[i], 0.5)
        alone = step(X_S[i : i + 1], X_0_HAT[i : i + 1], X_T[i : i + 1], EPS[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("batched", [False, True])
def test_gradients_flow_through_a_step_and_its_inputs_stay_as_they_were(batched):
    schedule = VPSchedule()
    s, t = times(schedule, 0.8, 0.3)
    if batched:
        s, t = s.expand(5), t.expand(5)
    step = dbim_transition(schedule, s, t, 0.7)
    images = [x[:, :1, :2, :2].clone().requires_grad_() for x in (X_S, X_0_HAT, X_T, EPS)]
    before = [x.detach().clone() for x in images]
    assert torch.autograd.gradcheck(step, images)
    for x, old in zip(images, before, strict=True):
        assert torch.equal(x, old)
    t = t.clone().requires_grad_()
    step = dbim_transition(schedule, s, t, 0.7)
    step(*before).sum().backward()
    assert t.grad.isfinite().all()
    assert (t.grad != 0).all()


def test_a_transition_keeps_the_type_of_the_images():
    step = Transition(*torch.tensor([0.5, 0.2, 0.1, 0.3], dtype=torch.float64))
    images = [x.float() for x in (X_S, X_0_HAT, X_T, EPS)]
    assert step(*images).dtype == torch.float32
    expected = 0.5 * X_S + 0.2 * X_0_HAT + 0.1 * X_T + 0.3 * EPS
    torch.testing.assert_close(step(*images), expected.float())


@pytest.mark.parametrize(
    ("s", "t", "eta", "message"),
    [
        (0.5, 0.4, 1.1, r"eta=1\.1 in the published form .* 0 to 1"),
        (0.4, 0.5, 0.5, r"eta=0\.5 in a step from an earlier to a later time: only eta=0"),
        (1.0, 0.5, 0.0, r"a step from a time with c = 0: begin above 0 and below t_max"),
    ],
)
def test_impossible_steps_are_named(s, t, eta, message):
    s, t = torch.tensor([s, t], dtype=torch.float64)
    with pytest.raises(UserError, match=message):
        dbim_transition(VPSchedule(), s, t, eta)
