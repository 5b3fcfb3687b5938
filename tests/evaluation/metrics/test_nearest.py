"""Distances to training targets, and the pairs that are nearest."""

from dataclasses import replace

import pytest
import torch
from published_files import in_batches, part, random_images
from small_features import ChannelMeans, Quarters

from dbim_lightning.evaluation.metrics import NearestTraining, nearest
from dbim_lightning.evaluation.references.statistics import make_reference

TRAINING = random_images(30, 8, seed=1).targets
DATA = [{"x_0": image / 127.5 - 1} for image in TRAINING]
IMAGES = random_images(60, 8)


def metric():
    made = NearestTraining(ChannelMeans())
    made.compare_with_training(DATA, lambda of: make_reference([TRAINING], 30, of, "cpu"))
    return made


def distances(samples):
    means, training = (images.double().mean(dim=(2, 3)) for images in (samples, TRAINING))
    return (means[:, None] - training).norm(dim=2).min(dim=1)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_it_is_the_mean_over_samples_of_the_distance_to_the_nearest(batch_size):
    made = metric()
    values = made.compute(in_batches(made, IMAGES, batch_size))
    expected = distances(IMAGES.samples).values.mean().item()
    assert values == pytest.approx({"nearest_means": expected}, rel=1e-5)


def test_a_training_image_is_at_no_distance_from_itself_and_its_mirror_image(monkeypatch):
    monkeypatch.setattr(nearest, "PART", 4)
    made = NearestTraining(Quarters())
    made.compare_with_training(DATA, lambda of: make_reference([TRAINING], 30, of, "cpu"))
    samples = TRAINING[[3, 8, 2, 29, 0]]
    samples[1:3] = samples[1:3].flip(-1)
    copied = replace(random_images(5, 8), samples=samples)
    assert made.compute(in_batches(made, copied, 2)) == {"nearest_quarters": 0}


def test_the_picture_has_the_nearest_pairs_of_all_processes(monkeypatch):
    processes, sums = [metric(), metric()], []
    for rank, process in enumerate(processes):
        monkeypatch.setattr(nearest, "rank_and_world_size", lambda rank=rank: (rank, 2))
        sums.append(in_batches(process, part(IMAGES, slice(rank, 60, 2)), 3, 60))
    first = processes[0]
    values = first.compute({name: sums[0][name] + sums[1][name] for name in sums[0]})
    found, expected = dict(first.rows), distances(IMAGES.samples)
    assert values["nearest_means"] == pytest.approx(expected.values.mean().item(), rel=1e-5)
    order = expected.values.argsort()[:12]
    assert torch.equal(found["sample"], IMAGES.samples[order])
    assert torch.equal(found["own target"], IMAGES.targets[order])
    assert torch.equal(found["nearest\nin training"], TRAINING[expected.indices[order]])
