"""Random weights in the exact formats, under the exact names, of the published files."""

import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
import torchvision
from cleanfid import inception_pytorch
from torch import Tensor, nn

from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics import Sums

TORCHVISION = {
    "vgg": ("vgg16", "vgg16-397923af.pth"),
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "squeeze": ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
    "resnet50": ("resnet50", "resnet50-0676ba61.pth"),
}


class TinyInception(nn.Module):
    """Called like the TorchScript Inception of 2015-12-05, with its `layers` and `output`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 9, stride=8), nn.ReLU(), nn.Conv2d(16, 2048, 3, stride=3), nn.ReLU()
        ).append(nn.AdaptiveAvgPool2d(1))
        self.output = nn.Linear(2048, 1008)

    def forward(
        self,
        img: Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> Tensor:
        x = F.interpolate(img, [299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        return features if return_features else self.output(features).softmax(dim=1)


def write_torchscript(folder: Path) -> None:
    torch.manual_seed(0)
    network = TinyInception().eval()
    network.output.weight.data *= 30  # else every class is as likely for every image
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(network).save(str(folder / "inception-2015-12-05.pt"))


def write_pytorch_fid(folder: Path) -> None:
    torch.manual_seed(0)
    with (
        warnings.catch_warnings(action="ignore"),
        mock.patch.object(inception_pytorch, "load_state_dict_from_url"),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        state = inception_pytorch.fid_inception_v3().state_dict()
    torch.save(state, folder / "pt_inception-2015-12-05-6726825d.pth")


def write_torchvision(net: str, folder: Path) -> None:
    torch.manual_seed(0)
    model, file = TORCHVISION[net]
    state = getattr(torchvision.models, model)().state_dict()
    for name, value in state.items():
        if name.startswith("classifier."):  # which LPIPS leaves out: nearly all of the file's size
            state[name] = torch.zeros(()).expand(value.shape)
    torch.save(state, folder / file)


def random_images(n: int, size: int = 32, seed: int = 0) -> Images:
    """Samples are noisy targets; positions are shuffled."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator) * 255
    targets = F.interpolate(coarse, size=(size, size), mode="bilinear")
    noise = torch.randn(targets.shape, generator=generator) * 20
    samples, targets = ((targets + x).clamp(0, 255).to(torch.uint8) for x in (noise, 0))
    position = torch.randperm(n, generator=generator)
    labels = torch.randint(1000, (n,), generator=generator)
    return Images(position + 100, position, targets.flip(3), samples, targets, labels)


def part(images: Images, rows: slice | Tensor) -> Images:
    """Some of the images, without the features that are known of all."""
    labels = None if images.labels is None else images.labels[rows]
    moved = {name: getattr(images, name)[rows] for name in ("index", "position", "sources")}
    samples, targets = images.samples[..., rows, :, :, :], images.targets[rows]
    return replace(images, **moved, samples=samples, targets=targets, labels=labels)


def in_batches(metric, images: Images, batch_size: int, num_images: int | None = None) -> Sums:
    """The sums of a metric that sees images so many at a time.

    num_images: that all processes see together; None: these alone.
    """
    metric.reset(num_images or len(images.index))
    for rows in torch.arange(len(images.index)).split(batch_size):
        metric.update(part(images, rows))
    return metric.sums()


def assert_splits_agree(metric, images: Images, batch_sizes=(1, 7, 64)) -> dict[str, float]:
    """Any batch size, and two processes, give the numbers of one batch to 1e-6."""
    n = len(images.index)
    expected = metric.compute(in_batches(metric, images, n))
    for batch_size in batch_sizes:
        values = metric.compute(in_batches(metric, images, batch_size))
        assert values == pytest.approx(expected, rel=1e-6)
    even, odd = (in_batches(metric, part(images, slice(i, n, 2)), 7, n) for i in (0, 1))
    assert even.keys() == odd.keys()
    values = metric.compute({name: even[name] + odd[name] for name in even})
    assert values == pytest.approx(expected, rel=1e-6)
    return expected
