"""Sums of features: the textbook's moments, whatever the batches, processes and offsets."""

import pytest
import torch

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.moments import (
    KeptFeatures,
    Moments,
    mean_and_covariance,
)

FEATURES = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 1


def sums_of(features, batch_size):
    moments = Moments(features.shape[1])
    for batch in features.split(batch_size):
        moments.update(batch)
    return moments.sums()


def test_mean_and_covariance_are_the_textbooks():
    mean, cov = mean_and_covariance(sums_of(FEATURES, 64))
    torch.testing.assert_close(mean, FEATURES.double().mean(dim=0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(cov, FEATURES.double().T.cov(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_sums_of_two_processes_add_up_for_any_batch_size(batch_size):
    one = mean_and_covariance(sums_of(FEATURES, 64))
    even, odd = (sums_of(FEATURES[rank::2], batch_size) for rank in range(2))
    both = mean_and_covariance({name: even[name] + odd[name] for name in even})
    for value, expected in zip(both, one, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


def test_a_mean_a_thousand_times_the_deviation_costs_no_digits_that_matter():
    _, cov = mean_and_covariance(sums_of(FEATURES.double() + 1000, 64))
    torch.testing.assert_close(cov, FEATURES.double().T.cov(), rtol=1e-8, atol=1e-9)


def test_sums_are_float64_of_a_size_that_does_not_grow():
    few, many = sums_of(FEATURES[:3], 3), sums_of(FEATURES, 7)
    assert {name: value.shape for name, value in few.items()} == {
        name: value.shape for name, value in many.items()
    }
    assert {value.dtype for value in many.values()} == {torch.float64}


def test_later_images_do_not_change_sums_that_were_taken():
    moments = Moments(12)
    before = moments.sums()
    moments.update(FEATURES)
    assert not before["products"].any()


def test_refuses_too_few_images_and_values_that_are_not_finite():
    for features, message in [
        (FEATURES[:0], r"0 image\(s\): give at least 2"),
        (FEATURES[:1], "at least 2"),
        (torch.full((3, 12), torch.nan), "NaN or infinity"),
    ]:
        with pytest.raises(UserError, match=message):
            mean_and_covariance(sums_of(features, 7))


def test_all_features_are_kept_where_they_are_few_in_any_order_and_across_processes():
    kept = [KeptFeatures(300, 12) for _ in range(2)]
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    for i, position in enumerate(order.split(7)):
        kept[i % 2].update(position, FEATURES[position])
    assert torch.equal(kept[0].rows + kept[1].rows, FEATURES)


@pytest.mark.parametrize("at_most", [2, 100, 101, 299])
def test_a_bounded_number_is_kept_evenly(at_most):
    kept, position = KeptFeatures(300, 1, at_most), torch.arange(300)
    for batch in position.split(64):
        kept.update(batch, batch[:, None])
    gaps = kept.rows[:, 0].diff()
    assert kept.rows.shape == (at_most, 1)
    assert kept.rows[0] == 0
    assert gaps.max() - gaps.min() <= 1
    assert abs(gaps.mean() - 300 / at_most) < 300 / at_most**2 + 1e-4


def test_an_image_that_comes_twice_is_kept_once():
    kept = KeptFeatures(5, 12)
    for _ in range(2):
        kept.update(torch.arange(5), FEATURES[:5])
    assert torch.equal(kept.rows, FEATURES[:5])
