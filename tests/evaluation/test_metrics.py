import math

import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import metrics
from dbim_lightning.evaluation.metrics import (
    ImageMetrics,
    distribution_metrics,
    frechet_distance,
    kernel_distance,
)


def gaussian(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features (n, d) with correlated columns."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator) / math.sqrt(d)
    return torch.randn(n, d, generator=generator) @ mix + shift


def images(n: int, seed: int, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


class ChannelMeans(nn.Module):
    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3)) / 255


def textbook_frechet(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    root = torch.as_tensor(scipy.linalg.sqrtm((a.T.cov() @ b.T.cov()).numpy())).real
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return float(gap + (a.T.cov() + b.T.cov() - 2 * root).trace())


@pytest.mark.parametrize(("n", "m", "d"), [(100, 80, 6), (40, 7, 6)])
def test_frechet_distance_equals_the_textbook_with_more_images_than_features(n, m, d):
    a, b = gaussian(n, d, 0), gaussian(m, d, 1, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(textbook_frechet(a, b), abs=1e-6)


def test_frechet_distance_equals_the_textbook_with_fewer_images_than_features():
    a, b = gaussian(9, 12, 0), gaussian(7, 12, 1, shift=0.3)
    eigenvalues = torch.linalg.eigvals(a.double().T.cov() @ b.double().T.cov())
    # sqrtm is ill-conditioned on singular matrices; its trace is the sum of the roots.
    overlap = eigenvalues.real.clamp(min=0).sqrt()
    overlap = overlap[overlap > 1e-6].sum()
    gap = (a.double().mean(0) - b.double().mean(0)).square().sum()
    expected = gap + a.double().var(0).sum() + b.double().var(0).sum() - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(float(expected), abs=1e-6)
    assert textbook_frechet(a, b) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("n", [5, 300])
def test_frechet_distance_to_itself_is_zero_and_a_shift_costs_its_square(n):
    a = gaussian(n, 20, 0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a.double() + 0.5, a) == pytest.approx(20 * 0.25, abs=1e-6)


def test_kernel_distance_equals_the_double_loop():
    a, b = gaussian(20, 6, 0), gaussian(13, 6, 1, shift=0.5)

    def mean_kernel(x, y, same):
        values = [
            (float(x[i].double() @ y[j].double()) / 6 + 1) ** 3
            for i in range(len(x))
            for j in range(len(y))
            if not (same and i == j)
        ]
        return math.fsum(values) / len(values)

    expected = mean_kernel(a, a, True) + mean_kernel(b, b, True) - 2 * mean_kernel(a, b, False)
    assert kernel_distance(a, b) == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_is_unbiased():
    values = torch.tensor(
        [kernel_distance(*gaussian(60, 4, seed).split(30)) for seed in range(200)]
    )
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_kernel_distance_does_not_depend_on_the_block(monkeypatch):
    a, b = gaussian(50, 6, 0), gaussian(33, 6, 1)
    whole = kernel_distance(a, b)
    monkeypatch.setattr(metrics, "_BLOCK", 7)
    assert kernel_distance(a, b) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 4), "at least 2"),
        (torch.zeros(5, 3), "at least 2"),
        (torch.full((5, 4), math.nan), "NaN"),
    ],
)
def test_distances_refuse_bad_features(distance, bad, message):
    for pair in [(bad, gaussian(5, 4, 0)), (gaussian(5, 4, 0), bad)]:
        with pytest.raises(UserError, match=message):
            distance(*pair)


def test_paired_metrics_by_hand():
    samples = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    targets = samples.clone()
    targets[0], targets[1] = 0, 204
    judge = ImageMetrics(None, "cpu")
    judge.update(samples, targets)
    values = judge.compute(None)
    assert values.keys() == {"mse", "psnr", "ssim"}
    # Errors of 2 and 0.4 on [-1, 1], where the data range is 2.
    assert values["mse"] == pytest.approx((4 + 0.16) / 2, rel=1e-6)
    assert values["psnr"] == pytest.approx((0 + 10 * math.log10(4 / 0.16)) / 2, rel=1e-5)
    # Flat images have no variance: SSIM is (2 m n + c) / (m^2 + n^2 + c), c = (0.01 * 2)^2.
    c = 0.02**2
    ssim = [(2 * 1 * n + c) / (1 + n * n + c) for n in (-1, 0.6)]
    assert values["ssim"] == pytest.approx(sum(ssim) / 2, abs=1e-4)


def test_nothing_depends_on_the_batch_size():
    samples, targets = images(64, 0), images(64, 1)
    results = []
    for size in (7, 64):
        judge = ImageMetrics(ChannelMeans(), "cpu")
        for batch in zip(samples.split(size), targets.split(size), strict=True):
            judge.update(*batch)
        results.append(judge.compute(ChannelMeans()(targets)))
    assert results[0] == pytest.approx(results[1], rel=1e-6, abs=1e-9)


def test_distances_are_those_of_the_samples_to_the_reference():
    samples, targets, reference = images(20, 0), images(20, 1), gaussian(30, 3, 2)
    judge = ImageMetrics(ChannelMeans(), "cpu")
    judge.update(samples, targets)
    values = judge.compute(reference)
    expected = distribution_metrics(ChannelMeans()(samples), reference)
    assert {key: values[key] for key in expected} == expected
    assert expected["fd_lite0"] == frechet_distance(ChannelMeans()(samples), reference)
    assert expected["kid_lite0"] == kernel_distance(ChannelMeans()(samples), reference)
    assert judge.compute(None).keys() == {"mse", "psnr", "ssim"}


def test_refuses_images_that_do_not_pair_up():
    judge, batch = ImageMetrics(None, "cpu"), images(4, 0)
    for samples, targets, message in [
        (batch, batch[:3], "both must be"),
        (batch[0], batch[0], "both must be"),
        (batch.float(), batch, "uint8"),
        (batch, batch.float(), "uint8"),
        (images(4, 0, size=10), images(4, 1, size=10), "11 px"),
    ]:
        with pytest.raises(UserError, match=message):
            judge.update(samples, targets)
    assert judge.num_images == 0


def test_refuses_too_few_images_and_values_that_are_not_finite():
    judge = ImageMetrics(None, "cpu")
    judge.update(images(1, 0), images(1, 1))
    with pytest.raises(UserError, match="at least 2"):
        judge.compute(None)
    judge.update(images(1, 2), images(1, 3))
    with pytest.raises(UserError, match="feature network"):
        judge.compute(gaussian(5, 3, 0))


def test_a_perfect_sample_has_infinite_psnr_and_loses_nothing():
    judge = ImageMetrics(None, "cpu")
    judge.update(images(2, 4), images(2, 4))
    values = judge.compute(None)
    assert values["psnr"] == math.inf
    assert values["mse"] == 0
    assert values["ssim"] == pytest.approx(1)
