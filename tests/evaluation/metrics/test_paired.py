import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
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
from dbim_lightning.evaluation.metrics import PairedMetrics
from dbim_lightning.evaluation.metrics.paired import ssim

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
    assert tuple(values) == tuple(metric.columns)
    assert values == pytest.approx(torchmetrics_values(images, net, resize), rel=1e-6)


@pytest.mark.parametrize("shape", [(11, 11), (13, 30)])
def test_ssim_of_each_image_is_torchmetrics_to_the_last_digits(shape):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 5, 3, *shape, generator=generator, dtype=torch.float64) * 2 - 1
    y[:3] = 0.8 * x[:3] + 0.2 * y[:3]
    judge = StructuralSimilarityIndexMeasure(data_range=2.0, reduction="none")
    torch.testing.assert_close(ssim(x, y), judge(x, y), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ssim(x, x), torch.ones(5, dtype=torch.float64))


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
    metric = PairedMetrics()
    metric.reset(2)
    with pytest.raises(UserError, match="mse, psnr, ssim need images of 11 px"):
        metric.update(random_images(2, 10))
    metric.update(random_images(2, 11))
    write_torchvision("alex", checkpoints)
    metric = PairedMetrics(lpips="alex")
    metric.reset(2)
    with pytest.raises(UserError, match="lpips_alex need images of 31 px"):
        metric.update(random_images(2, 30))
    metric.update(random_images(2, 31))
