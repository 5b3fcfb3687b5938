"""Fréchet distance and KID: the textbook, clean-fid, torchmetrics; sums, bounds, bad input."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from dbim_lightning.evaluation.distances import (
    FeatureDistance,
    frechet_distance_of_moments,
    kernel_distance,
)
from dbim_lightning.evaluation.metric import Images
from dbim_lightning.evaluation.moments import KeptFeatures, Moments, mean_and_covariance
from dbim_lightning.evaluation.reference import make_reference
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import distances


def frechet_distance(features_a, features_b):
    """tr sqrt(S_a S_b) as the nuclear norm of R_a R_b^T, where R^T R = S."""
    means, roots = [], []
    for features in (features_a.double(), features_b.double()):
        means.append(features.mean(dim=0))
        centred = (features - means[-1]) / math.sqrt(len(features) - 1)
        roots.append(torch.linalg.qr(centred, mode="r").R)
    traces = sum(root.square().sum() for root in roots)
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return float((means[0] - means[1]).square().sum() + traces - 2 * overlap)


def gaussian(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features (n, d) with correlated columns."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator) / math.sqrt(d)
    return torch.randn(n, d, generator=generator) @ mix + shift


def pictures(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)


def of_moments(a: Tensor, b: Tensor) -> float:
    statistics = []
    for features in (a, b):
        sums = Moments(features.shape[1])
        for batch in features.split(64):
            sums.update(batch)
        statistics += mean_and_covariance(sums.sums())
    return frechet_distance_of_moments(*statistics)


def textbook_frechet(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    root = torch.as_tensor(scipy.linalg.sqrtm((a.T.cov() @ b.T.cov()).numpy())).real
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return float(gap + (a.T.cov() + b.T.cov() - 2 * root).trace())


class Quarters(nn.Module):
    """Twelve features: mean of each colour in each quarter of an image."""

    num_features = 12
    name = "quarters"

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 64), (1000, 90, 80)])
def test_frechet_distance_equals_the_textbook(n, m, d):
    a, b = gaussian(n, d, 0), gaussian(m, d, 1, shift=0.3)
    assert of_moments(a, b) == pytest.approx(textbook_frechet(a, b), rel=1e-8)


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@pytest.mark.parametrize(("n", "m", "d"), [(30, 20, 64), (20, 30, 64), (200, 20, 64), (2, 2, 5)])
def test_frechet_distance_of_singular_covariances_equals_that_of_features(n, m, d):
    a, b = gaussian(n, d, 0), gaussian(m, d, 1, shift=0.3)
    assert of_moments(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert of_moments(a, b) == pytest.approx(textbook_frechet(a, b), rel=1e-5)


@pytest.mark.parametrize("n", [5, 300])
def test_frechet_distance_to_itself_is_zero_and_a_shift_costs_its_square(n):
    a = gaussian(n, 20, 0).double()
    assert of_moments(a, a) == pytest.approx(0, abs=1e-9)
    assert of_moments(a + 0.5, a) == pytest.approx(20 * 0.25, rel=1e-9)


def test_features_that_never_vary_are_no_trouble():
    constant = torch.zeros(5, 4)
    assert of_moments(constant, constant + 2) == pytest.approx(16)


def test_frechet_distance_equals_clean_fids(cleanfid_fid):
    a, b = gaussian(900, 96, 0), gaussian(700, 96, 1, shift=0.2)
    expected = cleanfid_fid.fid_from_feats(a.double().numpy(), b.double().numpy())
    assert of_moments(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_torchmetrics():
    a, b = pictures(200, 0), pictures(150, 1) // 2
    judge = FrechetInceptionDistance(feature=Quarters())
    judge.update(b, real=True)
    judge.update(a, real=False)
    expected = float(judge.compute())
    assert of_moments(Quarters()(a), Quarters()(b)) == pytest.approx(expected, rel=1e-5)


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


@pytest.mark.filterwarnings("ignore:.*features in buffer")
def test_kernel_distance_equals_torchmetrics_on_one_subset_of_all():
    a, b = pictures(100, 0), pictures(100, 1) // 2
    judge = KernelInceptionDistance(feature=Quarters(), subsets=1, subset_size=100)
    judge.update(b, real=True)
    judge.update(a, real=False)
    expected = float(judge.compute()[0])
    assert kernel_distance(Quarters()(a), Quarters()(b)) == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_equals_clean_fids_within_its_noise(cleanfid_fid):
    a, b = gaussian(400, 16, 0).double(), gaussian(300, 16, 1, shift=0.3).double()
    np.random.seed(0)
    draws = [cleanfid_fid.kernel_distance(a.numpy(), b.numpy(), 5, 100) for _ in range(20)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(kernel_distance(a, b) - np.mean(draws)) < 4 * error


def test_kernel_distance_is_unbiased():
    values = torch.tensor(
        [kernel_distance(*gaussian(60, 4, seed).split(30)) for seed in range(200)]
    )
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_kernel_distance_does_not_depend_on_the_block(monkeypatch):
    a, b = gaussian(50, 6, 0), gaussian(33, 6, 1)
    whole = kernel_distance(a, b)
    monkeypatch.setattr(distances, "_BLOCK", 7)
    assert kernel_distance(a, b) == pytest.approx(whole, abs=1e-12)


REFERENCE = make_reference(pictures(60, 1).split(16), 60, Quarters(), "cpu")


def batches(samples: Tensor, size: int) -> list[Images]:
    positions = torch.arange(len(samples)).split(size)
    return [Images(p, p, samples[p], samples[p], samples[p]) for p in positions]


def judge(parts: list[Images], num_images: int) -> FeatureDistance:
    metric = FeatureDistance(Quarters(), "cpu", REFERENCE, num_images)
    for images in parts:
        metric.update(images)
    return metric


def test_numbers_are_those_of_the_features():
    samples = pictures(50, 0)
    metric = judge(batches(samples, 50), 50)
    values = metric.compute(metric.sums())
    features, reference = Quarters()(samples), Quarters()(pictures(60, 1))
    assert tuple(values) == metric.names == ("kid_quarters", "fd_quarters")
    assert values["fd_quarters"] == pytest.approx(frechet_distance(features, reference), rel=1e-9)
    assert values["kid_quarters"] == kernel_distance(features, reference)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_sums_of_two_processes_give_the_numbers_of_one_for_any_batch_size(size):
    samples = pictures(50, 0)
    parts = batches(samples, size)
    one, *ranks = judge(batches(samples, 50), 50), judge(parts[::2], 50), judge(parts[1::2], 50)
    first, second = (rank.sums() for rank in ranks)
    both = {name: first[name] + second[name] for name in first}
    assert one.compute(both) == pytest.approx(one.compute(one.sums()), rel=1e-9)


def test_sums_do_not_grow_with_the_number_of_images(monkeypatch):
    monkeypatch.setattr(distances, "KeptFeatures", partial(KeptFeatures, at_most=20))
    few, many = (judge(batches(pictures(n, 0), 16), n).sums() for n in (30, 300))
    assert {name: value.shape for name, value in few.items()} == {
        name: value.shape for name, value in many.items()
    }
    assert few["kept"].shape == (20, 12)


def test_kernel_distance_is_over_the_images_that_are_kept(monkeypatch):
    monkeypatch.setattr(distances, "KeptFeatures", partial(KeptFeatures, at_most=10))
    samples = pictures(50, 0)
    metric = judge(batches(samples, 16), 50)
    expected = kernel_distance(Quarters()(samples[::5]), REFERENCE.features)
    assert metric.compute(metric.sums())["kid_quarters"] == expected


def test_the_network_runs_once_on_each_batch_and_names_the_distance():
    class Counted(Quarters):
        calls = 0
        distance_name = "fid"

        def forward(self, images):
            self.calls += 1
            return super().forward(images)

    network = Counted()
    metric = FeatureDistance(network, "cpu", REFERENCE._replace(features=None), 50)
    for images in batches(pictures(50, 0), 16):
        metric.update(images)
    assert network.calls == 4
    assert metric.compute(metric.sums()).keys() == {"fid_quarters"} == set(metric.names)
    assert "kept" not in metric.sums()


def test_warns_once_where_images_are_fewer_than_features(caplog):
    distances._say_once.cache_clear()
    for num_images in (13, 12, 12):
        FeatureDistance(Quarters(), "cpu", REFERENCE, num_images)
    (message,) = caplog.messages
    assert message.startswith("fd_quarters of 12 images in 12 features is biased upwards")
    assert message.endswith("trust kid_quarters")


def test_fewer_images_than_features_bias_the_distance_upwards():
    few, many = (gaussian(n, 40, 0).chunk(2) for n in (40, 4000))
    assert of_moments(*few) > 10 * of_moments(*many)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda: judge(batches(pictures(50, 0), 16), 60), "of 50 images, where 60 were announced"),
        (lambda: judge(batches(pictures(1, 0), 16), 1), "at least 2"),
    ],
)
def test_refuses_another_number_of_images(metric, message):
    metric = metric()
    with pytest.raises(UserError, match=message):
        metric.compute(metric.sums())


def test_refuses_the_reference_of_another_network():
    other = REFERENCE._replace(mean=torch.zeros(5))
    with pytest.raises(UserError, match="reference of 5 features for quarters, which has 12"):
        FeatureDistance(Quarters(), "cpu", other, 50)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 4), "at least 2"),
        (torch.zeros(5, 3), "at least 2"),
        (torch.full((5, 4), math.nan), "NaN"),
    ],
)
def test_kernel_distance_refuses_bad_features(bad, message):
    for pair in [(bad, gaussian(5, 4, 0)), (gaussian(5, 4, 0), bad)]:
        with pytest.raises(UserError, match=message):
            kernel_distance(*pair)
