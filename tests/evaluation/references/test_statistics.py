"""Statistics of a stream of images: the textbook's, whatever the batches; a few features."""

import pytest
import torch
from small_features import ChannelMeans, pictures

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.references.statistics import make_reference, numbered, statistics_of

IMAGES = pictures(150, 0)
FEATURES = ChannelMeans()(IMAGES)


@pytest.mark.parametrize("batch_size", [1, 16, 150])
def test_a_stream_of_images_gives_the_textbooks_moments_and_the_features(batch_size):
    reference = make_reference(IMAGES.split(batch_size), 150, ChannelMeans(), "cpu")
    expected = {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(reference.mean, FEATURES.double().mean(dim=0), **expected)
    torch.testing.assert_close(reference.covariance, FEATURES.double().T.cov(), **expected)
    torch.testing.assert_close(reference.features, FEATURES, **expected)


@pytest.mark.parametrize("announced", [149, 151])
def test_another_number_of_images_than_announced_is_refused(announced):
    with pytest.raises(UserError, match=f"150 reference images: {announced} were announced"):
        make_reference(IMAGES.split(16), announced, ChannelMeans(), "cpu")


def test_features_are_kept_of_images_spread_over_all():
    kept = make_reference(IMAGES.split(16), 150, ChannelMeans(), "cpu", at_most=10).features
    assert torch.equal(kept, FEATURES[::15])


def test_features_of_images_give_what_the_images_give():
    of_images = make_reference(IMAGES.split(16), 150, ChannelMeans(), "cpu")
    of_features = statistics_of(FEATURES.split(16), 150, 3)
    assert all(torch.equal(a, b) for a, b in zip(of_images, of_features, strict=True))


def test_rows_are_numbered_over_all_batches():
    numbers = [position.tolist() for position, _ in numbered(torch.zeros(5, 1).split(2))]
    assert numbers == [[0, 1], [2, 3], [4]]
