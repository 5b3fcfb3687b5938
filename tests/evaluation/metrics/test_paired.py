import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from dbim_lightning.evaluation.diversity import Diversity
from dbim_lightning.evaluation.paired import PairedMetrics
from published_files import (
    TORCHVISION,
    assert_splits_agree,
    in_batches,
    random_images,
    write_torchvision,
)
from torchmetrics import MeanSquaredError
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork

NETS = [pytest.param("vgg", marks=pytest.mark.slow), "alex", "squeeze"]


def torchmetrics_values(images, net: str, resize: int | None) -> dict[str, float]:
    """All images in one batch through the metrics of torchmetrics."""
    metrics = {
        "mse": MeanSquaredError(),
        "psnr": PeakSignalNoiseRatio(data_range=2.0, dim=(1, 2, 3)),
        "ssim": StructuralSimilarityIndexMeasure(data_range=2.0),
        f"lpips_{net}": LearnedPerceptualImagePatchSimilarity(net),
    }
    pair = [x / 127.5 - 1 for x in (images.samples, images.targets)]
    if resize is not None:
        pair = [F.interpolate(x, (resize, resize), mode="bilinear", antialias=False) for x in pair]
    with torch.no_grad():
        return {name: float(metric(*pair)) for name, metric in metrics.items()}


@pytest.mark.parametrize("resize", [None, 56])
@pytest.mark.parametrize("net", NETS)
def test_equals_torchmetrics_in_batches_of_any_size(net, resize, checkpoints):
    write_torchvision(net, checkpoints)
    images = random_images(12, 40)
    metric = PairedMetrics(lpips=net, resize=resize)
    values = assert_splits_agree(metric, images)
    assert tuple(values) == metric.names
    assert values == pytest.approx(torchmetrics_values(images, net, resize), rel=1e-6)


def test_a_perfect_sample_has_infinite_psnr():
    images = random_images(3)
    images = replace(images, samples=torch.cat([images.targets[:1], images.samples[1:]]))
    metric = PairedMetrics()
    values = metric.compute(in_batches(metric, images, 2))
    assert values["psnr"] == math.inf
    assert math.isfinite(values["mse"])


@pytest.mark.parametrize("net", sorted(TORCHVISION.keys() - {"resnet50"}))
def test_missing_backbones_are_named(net, checkpoints):
    with pytest.raises(UserError) as error:
        PairedMetrics(lpips=net)
    file = TORCHVISION[net][1]
    for part in (f"LPIPS {net}", str(checkpoints / file), f"download.pytorch.org/models/{file}"):
        assert part in str(error.value)


def test_bad_input_is_named(checkpoints):
    with pytest.raises(UserError, match="choose one of vgg, alex, squeeze"):
        PairedMetrics(lpips="resnet")
    with pytest.raises(UserError, match="mse, psnr, ssim need images of 11 px"):
        PairedMetrics().update(random_images(2, 10))
    write_torchvision("alex", checkpoints)
    metric = PairedMetrics(lpips="alex")
    with pytest.raises(UserError, match="lpips_alex need images of 31 px"):
        metric.update(random_images(2, 30))
    metric.update(random_images(2, 31))


class ChannelMeans(FeatureNetwork):
    num_features = 3
    name = "means"

    def forward(self, images):
        return images.float().mean(dim=(2, 3))


def test_diversity_is_the_mean_over_pairs_and_pixels():
    noises = [random_images(10, 8, seed).samples for seed in range(3)]
    expected = {"diversity_means": 0.0, "diversity_pixel_std": 0.0}
    for source in range(10):
        means = [noise[source].double().mean(dim=(1, 2)) for noise in noises]
        pairs = [math.dist(means[i], means[j]) for i, j in [(0, 1), (0, 2), (1, 2)]]
        pixels = torch.stack([noise[source] / 127.5 - 1 for noise in noises])
        expected["diversity_means"] += sum(pairs) / 3 / 10
        variance = (pixels - pixels.mean(dim=0)).square().sum(dim=0) / 2
        expected["diversity_pixel_std"] += float(variance.sqrt().mean()) / 10
    whole, first, second = (Diversity(ChannelMeans()) for _ in range(3))
    whole.update(noises)
    for start in range(0, 10, 4):
        target = first if start == 0 else second
        target.update([noise[start : start + 4] for noise in noises])
    total = {name: value + second.sums()[name] for name, value in first.sums().items()}
    assert whole.compute(whole.sums()) == pytest.approx(expected, rel=1e-6)
    assert whole.compute(total) == pytest.approx(expected, rel=1e-6)


def test_diversity_of_one_picture_is_zero_and_needs_two_noises():
    samples = random_images(4).samples
    metric = Diversity(ChannelMeans())
    metric.update([samples, samples])
    assert set(metric.compute(metric.sums()).values()) == {0.0}
    with pytest.raises(UserError, match="draw at least 2"):
        metric.update([samples])
