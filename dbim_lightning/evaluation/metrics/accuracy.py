"""How often ResNet-50 recognises what a sample should show."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.imagenet import normalised
from dbim_lightning.evaluation.features.weights_files import find_weights, reading
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Column, Means


class ClassifierAccuracy(Means):
    """The part of the samples that ResNet-50 gives their own label, top-1, in [0, 1].

    The weights are torchvision's IMAGENET1K_V1. As published, the whole image is resized to
    224 px, bicubic without antialiasing, and nothing is cropped.

    Raises:
        UserError: if the weights file is missing; in `update`, if the images have no labels.
    """

    columns = {"accuracy_resnet50": Column("accuracy", 1, "↑", unit="%", scale=100)}

    def __init__(self) -> None:
        self.network = _resnet50(find_weights("resnet50-0676ba61.pth", "ResNet-50 accuracy"))

    def values(self, images: Images) -> dict[str, Tensor]:
        if images.labels is None:
            raise UserError(
                "accuracy_resnet50 needs class labels, and this data set has none: "
                "leave that metric out"
            )
        network = self.network.to(images.samples.device)
        best = network(normalised(images.samples, antialias=False)).argmax(dim=1)
        return {"accuracy_resnet50": best.cpu() == images.labels}


@cache
def _resnet50(path: Path) -> nn.Module:
    """Read once for all jobs of a sweep."""
    from torchvision.models import resnet50  # noqa: PLC0415 - two seconds that few need

    network = resnet50().requires_grad_(False).eval()
    with reading(path):
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
