"""KID and Fréchet distance of samples: numbers, sums, bounds, names, other references."""

from functools import partial

import pytest
import torch
from small_features import Quarters, frechet_distance, pictures
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.features.moments import KeptFeatures
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics import FeatureDistance, feature_distance
from dbim_lightning.evaluation.metrics.distances import kernel_distance
from dbim_lightning.evaluation.references.statistics import Reference, make_reference

REFERENCE = make_reference(pictures(60, 1).split(16), 60, Quarters(), "cpu")


def batches(samples: Tensor, size: int) -> list[Images]:
    positions = torch.arange(len(samples)).split(size)
    return [Images(p, p, samples[p], samples[p], samples[p]) for p in positions]


def compared(network: FeatureNetwork, reference: Reference = REFERENCE) -> FeatureDistance:
    metric = FeatureDistance(network)
    metric.compare_with(lambda asked: {network: reference}[asked])
    return metric


def judge(parts: list[Images], num_images: int) -> FeatureDistance:
    metric = compared(Quarters())
    metric.reset(num_images)
    for images in parts:
        metric.update(images)
    return metric


def test_numbers_are_those_of_the_features():
    samples = pictures(50, 0)
    metric = judge(batches(samples, 50), 50)
    values = metric.compute(metric.sums())
    features, reference = Quarters()(samples), Quarters()(pictures(60, 1))
    assert tuple(values) == tuple(metric.columns) == ("kid_quarters", "fd_quarters")
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
    monkeypatch.setattr(feature_distance, "KeptFeatures", partial(KeptFeatures, at_most=20))
    few, many = (judge(batches(pictures(n, 0), 16), n).sums() for n in (30, 300))
    assert {name: value.shape for name, value in few.items()} == {
        name: value.shape for name, value in many.items()
    }
    assert few["kept"].shape == (20, 12)


def test_kernel_distance_is_over_the_images_that_are_kept(monkeypatch):
    monkeypatch.setattr(feature_distance, "KeptFeatures", partial(KeptFeatures, at_most=10))
    samples = pictures(50, 0)
    metric = judge(batches(samples, 16), 50)
    expected = kernel_distance(Quarters()(samples[::5]), REFERENCE.features)
    assert metric.compute(metric.sums())["kid_quarters"] == expected


def test_the_network_runs_once_on_each_batch_and_names_the_distance():
    class Counted(Quarters):
        calls = 0
        distance_title = "FID"

        def forward(self, images):
            self.calls += 1
            return super().forward(images)

    network = Counted()
    metric = compared(network, REFERENCE._replace(features=None))
    metric.reset(50)
    for images in batches(pictures(50, 0), 16):
        metric.update(images)
    assert network.calls == 4
    assert metric.compute(metric.sums()).keys() == {"fid_quarters"}
    assert metric.columns.keys() == {"fid_quarters"}
    assert "kept" not in metric.sums()


def test_warns_once_where_images_are_fewer_than_features(caplog):
    feature_distance._say_once.cache_clear()
    for num_images in (13, 12, 12):
        compared(Quarters()).reset(num_images)
    (message,) = caplog.messages
    assert message.startswith("fd_quarters of 12 images in 12 features is biased upwards")
    assert message.endswith("trust kid_quarters")


def test_warns_without_kernel_distance_to_compare_equal_numbers(caplog):
    feature_distance._say_once.cache_clear()
    compared(Quarters(), REFERENCE._replace(features=None)).reset(12)
    (message,) = caplog.messages
    assert message.endswith("number of images: compare equal numbers of them only")


def test_titles_are_those_of_the_network():
    class Titled(Quarters):
        title, distance_title, note = "clean", "FID", "of quarters"

    columns = FeatureDistance(Titled()).columns
    assert {key: column.title for key, column in columns.items()} == {
        "kid_quarters": "KID × 10³ (clean)",
        "fid_quarters": "FID (clean)",
    }
    assert [column.scale for column in columns.values()] == [1000, 1]
    assert {column.note for column in columns.values()} == {"of quarters"}
    assert {column.title for column in FeatureDistance(Quarters()).columns.values()} == {
        "KID × 10³",
        "FD",
    }


def test_forgets_all_images_between_two_jobs():
    metric = judge(batches(pictures(50, 0), 16), 50)
    first = metric.compute(metric.sums())
    metric.reset(50)
    assert not any(value.any() for value in metric.sums().values())
    for images in batches(pictures(50, 0), 64):
        metric.update(images)
    assert metric.compute(metric.sums()) == pytest.approx(first, rel=1e-9)


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
        compared(Quarters(), other)
