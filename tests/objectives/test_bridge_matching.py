"""The objective beyond the published numbers: which times it draws, and what counts."""

import copy

import pytest
import torch
from golden_data import SCHEDULES, ToyNetwork

from dbim_lightning.bridge import BridgeDenoiser, BrownianSchedule, DDBMPreconditioning
from dbim_lightning.errors import UserError
from dbim_lightning.objectives import BridgeMatching
from dbim_lightning.samplers import Uniform, UniformLambda

ALL_SCHEDULES = SCHEDULES | {"brownian": BrownianSchedule()}
X_0, X_T, EPS = torch.rand(3, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
U = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)


def denoiser(name="vp"):
    return BridgeDenoiser(ToyNetwork(), ALL_SCHEDULES[name], DDBMPreconditioning())


@pytest.mark.parametrize("name", ALL_SCHEDULES)
def test_uniform_times_cover_the_whole_range_evenly(name):
    schedule, u = ALL_SCHEDULES[name], torch.linspace(0, 1, 11, dtype=torch.float64)
    times = Uniform()(schedule, schedule.t_max, u)
    assert torch.equal(times, schedule.uniform_times(u))


@pytest.mark.parametrize("name", ["vp", "ve", "brownian"])
def test_times_uniform_in_lambda_are_just_that(name):
    schedule, u = ALL_SCHEDULES[name], torch.rand(1000).double()
    lambdas = schedule.lambda_(UniformLambda()(schedule, schedule.t_max, u))
    ends = torch.tensor([schedule.t_min, schedule.t_max - 1e-3], dtype=torch.float64)
    last, first = schedule.lambda_(ends)
    torch.testing.assert_close((lambdas - last) / (first - last), u, rtol=0, atol=1e-9)


def test_more_than_a_third_of_ves_times_are_below_1_where_uniformly_one_in_80_is():
    schedule, u = SCHEDULES["ve"], torch.linspace(0, 1, 10_001, dtype=torch.float64)
    shares = ((Uniform(), 1 / 80), (UniformLambda(), 0.39), (UniformLambda(limit=3), 0.5))
    for times, share in shares:
        below = (times(schedule, schedule.t_max, u) < 1).double().mean().item()
        assert below == pytest.approx(share, abs=0.01)


def test_a_limit_leaves_out_times_of_little_but_noise_and_of_little_but_image():
    schedule, u = SCHEDULES["ve"], torch.linspace(0, 1, 11, dtype=torch.float64)
    lambdas = schedule.lambda_(UniformLambda(limit=3)(schedule, schedule.t_max, u))
    torch.testing.assert_close(lambdas, 3 - 6 * u, rtol=0, atol=1e-9)
    with pytest.raises(UserError, match="limit=0 of lambda"):
        UniformLambda(limit=0)


def test_a_step_draws_places_then_noise_and_judges_them():
    objective, batch = BridgeMatching(UniformLambda()), {"x_0": X_0, "x_T": X_T}
    torch.manual_seed(3)
    values = objective(denoiser(), batch, step=0)
    torch.manual_seed(3)
    u = torch.rand(6, dtype=torch.float64)
    expected = objective.at(denoiser(), batch, u, torch.randn_like(X_0))
    assert torch.equal(values["u"], u)
    for name in ("loss", "error"):
        assert torch.equal(values[name], expected[name])


def test_the_loss_is_the_error_by_its_weight():
    bridge = denoiser()
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    values = BridgeMatching().at_times(bridge, {"x_0": X_0, "x_T": X_T}, t, EPS)
    x_t = bridge.schedule.q_sample(X_0, X_T, t, EPS)
    error = (bridge(x_t, t, X_T) - X_0).square().mean(dim=(1, 2, 3))
    scalings = bridge.preconditioning(bridge.schedule, t, bridge.schedule.coefficients(t))
    torch.testing.assert_close(values["error"].double(), error.double())
    torch.testing.assert_close(values["loss"].double(), error.double() / scalings.c_out**2)


def test_errors_outside_the_hole_count_only_without_mask():
    mask = torch.zeros(6, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    elsewhere = torch.where(mask.bool(), X_0, -X_0)
    plain, masked = BridgeMatching(), BridgeMatching(mask=True)

    def loss(objective, x_0):
        # the state is the same, since it is drawn next to t_max
        batch = {"x_0": x_0, "x_T": X_T, "mask": mask}
        return objective.at(denoiser(), batch, torch.ones(6).double(), EPS)["error"]

    torch.testing.assert_close(loss(masked, X_0), loss(masked, elsewhere))
    assert (loss(plain, X_0) - loss(plain, elsewhere)).abs().min() > 0.01
    with pytest.raises(UserError, match=r"objective\.mask=true needs data with masks"):
        masked.at(denoiser(), {"x_0": X_0, "x_T": X_T}, U, EPS)


def test_copies_of_what_holds_it_share_it():
    objective = BridgeMatching()
    assert copy.deepcopy({"objective": objective})["objective"] is objective


def test_coefficients_are_computed_once_in_a_step(monkeypatch):
    bridge, calls = denoiser(), []
    of = type(bridge.schedule).coefficients
    monkeypatch.setattr(
        type(bridge.schedule), "coefficients", lambda *args: calls.append(1) or of(*args)
    )
    BridgeMatching()(bridge, {"x_0": X_0, "x_T": X_T}, 0)
    assert len(calls) == 1
