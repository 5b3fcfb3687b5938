import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from published_files import assert_splits_agree, in_batches, random_images
from small_features import ChannelMeans

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics import Diversity
from dbim_lightning.evaluation.metrics.diversity import vendi_score


def with_noises(noises):
    """Images of ten sources whose samples are (K, 10, 3, 8, 8)."""
    return replace(random_images(10, 8), samples=torch.stack(noises))


def test_diversity_is_the_mean_over_pairs_and_pixels():
    noises = [random_images(10, 8, seed).samples for seed in range(3)]
    expected = {"afd_means": 0.0, "vendi_means": 0.0, "diversity_pixel_std": 0.0}
    for source in range(10):
        means = [noise[source].double().mean(dim=(1, 2)) for noise in noises]
        pairs = [math.dist(means[i], means[j]) for i, j in [(0, 1), (0, 2), (1, 2)]]
        pixels = torch.stack([noise[source] / 127.5 - 1 for noise in noises])
        expected["afd_means"] += sum(pairs) / 3 / 10
        features = np.stack(means)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        eigenvalues = np.linalg.eigvals(features @ features.T / 3).real
        entropy = -sum(x * math.log(x) for x in eigenvalues if x > 1e-12)
        expected["vendi_means"] += math.exp(entropy) / 10
        variance = (pixels - pixels.mean(dim=0)).square().sum(dim=0) / 2
        expected["diversity_pixel_std"] += float(variance.sqrt().mean()) / 10
    metric = Diversity(ChannelMeans(), noises=3)
    values = assert_splits_agree(metric, with_noises(noises), batch_sizes=(1, 4))
    assert tuple(values) == tuple(metric.columns)
    assert values == pytest.approx(expected, rel=1e-6)


def test_one_picture_has_no_diversity():
    samples = random_images(10, 8).samples
    metric = Diversity(ChannelMeans(), noises=2)
    values = metric.compute(in_batches(metric, with_noises([samples, samples]), 10))
    assert values["afd_means"] == values["diversity_pixel_std"] == 0
    assert values["vendi_means"] == pytest.approx(1)


def test_the_vendi_score_counts_how_many_are_different():
    features = torch.eye(4)[torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]])] * 7
    expected = torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(vendi_score(features), expected)


@pytest.mark.parametrize("noises", [1, -2, 2.5])
def test_diversity_needs_two_noises(noises):
    with pytest.raises(UserError, match=f"diversity of noises={noises}: give 2 or more, or 0"):
        Diversity(ChannelMeans(), noises=noises)
