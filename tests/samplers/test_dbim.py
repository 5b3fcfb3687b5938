"""What a DBIM and its noise promise, beyond the published numbers."""

import pytest
import torch
from golden_data import ToyNetwork

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, ImageNoise

SCHEDULE = VPSchedule()
DENOISER = BridgeDenoiser(ToyNetwork(), SCHEDULE, DDBMPreconditioning())
SOURCES = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sample(indices, eta=0.5, seed=0, nfe=5):
    noise = ImageNoise(seed, indices)
    return DBIM(nfe, eta).sample(DENOISER, SCHEDULE, SOURCES[indices], noise)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sample_depends_on_image_not_on_batch(eta):
    together = sample([0, 1, 2, 3, 4, 5, 6], eta)
    torch.testing.assert_close(sample([5, 2], eta), together[[5, 2]], rtol=0, atol=0)


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


def test_perfect_denoiser_gives_its_answer_up_to_the_noise_at_t_min():
    x_0 = SOURCES.flip(0)
    out = DBIM(5, eta=1).sample(lambda x, t, x_T: x_0, SCHEDULE, SOURCES, ImageNoise(0, range(7)))
    c_min = SCHEDULE.bridge(torch.tensor(SCHEDULE.t_min, dtype=torch.float64)).c
    assert (out - x_0).abs().max() < 6 * c_min


def test_state_keeps_dtype_and_known_region():
    mask = torch.zeros(7, 1, 8, 8)
    mask[..., :4] = 1
    seen = []
    DBIM(4).sample(
        DENOISER,
        SCHEDULE,
        SOURCES,
        ImageNoise(0, range(7)),
        mask=mask,
        on_step=lambda step, t, x, x_0: seen.append((x.dtype, x_0)),
    )
    assert len(seen) == 4
    for dtype, x_0 in seen:
        assert dtype == torch.float32
        assert torch.equal(x_0[..., 4:], SOURCES[..., 4:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nfe": 1}, "nfe=1"),
        ({"nfe": 2.5}, "nfe=2.5"),
        ({"nfe": 5, "eta": 1.1}, "eta=1.1"),
        ({"nfe": 5, "eta": -0.1}, "eta=-0.1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        DBIM(**options)
