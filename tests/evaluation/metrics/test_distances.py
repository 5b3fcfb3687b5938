"""Fréchet distance and KID of features: the textbook, clean-fid, torchmetrics, bad input."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from small_features import Quarters, frechet_distance, pictures
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.moments import Moments, mean_and_covariance
from dbim_lightning.evaluation.metrics import distances
from dbim_lightning.evaluation.metrics.distances import (
    frechet_distance_of_moments,
    kernel_distance,
)


def gaussian(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    """Features (n, d) with correlated columns."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator) / math.sqrt(d)
    return torch.randn(n, d, generator=generator) @ mix + shift


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


def test_fewer_images_than_features_bias_the_distance_upwards():
    few, many = (gaussian(n, 40, 0).chunk(2) for n in (40, 4000))
    assert of_moments(*few) > 10 * of_moments(*many)


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
