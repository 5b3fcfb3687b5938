"""How near each sample is to its own target: MSE, PSNR, SSIM and LPIPS."""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metric import Images, Means
from dbim_lightning.evaluation.weights_files import find_weights, reading

_SSIM_SIDE = 11
# net -> (weights file of its backbone, smallest image side in px)
_LPIPS = {
    "vgg": ("vgg16-397923af.pth", 16),
    "alex": ("alexnet-owt-7be5be79.pth", 31),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", 17),
}


@cache
def _network(lpips: str, path: Path) -> nn.Module:
    """Read once for all jobs of a sweep; torchmetrics looks for the file at `path`, too."""
    with reading(path):
        return LearnedPerceptualImagePatchSimilarity(lpips).net


class PairedMetrics(Means):
    """Compares samples with targets on [-1, 1], image by image, by torchmetrics.

    Every image has the same weight, so the batch size changes nothing. PSNR is the mean over
    images of the PSNR of one image, infinite where a sample equals its target in every pixel.

    Args:
        device: where images are compared.
        lpips: the backbone, "vgg", "alex" or "squeeze"; None leaves LPIPS out.
        resize: the side, in px, of the squares that images are resized to first, bilinear without
            antialiasing (published: 224 for images below 256 px); None leaves them as they are.

    Raises:
        UserError: if the weights file of the backbone is missing.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        lpips: str | None = None,
        resize: int | None = None,
    ) -> None:
        if lpips is not None and lpips not in _LPIPS:
            raise UserError(f"LPIPS net {lpips!r}: choose one of {', '.join(_LPIPS)}")
        self.device, self.resize = torch.device(device), resize
        super().__init__(["mse", "psnr", "ssim", *([f"lpips_{lpips}"] if lpips else [])])
        self._smallest, self._lpips = _SSIM_SIDE, None
        if lpips is not None:
            file, self._smallest = _LPIPS[lpips]
            self._lpips = _network(lpips, find_weights(file, f"LPIPS {lpips}")).to(self.device)

    @torch.no_grad()
    def update(self, images: Images) -> None:
        """Adds a batch.

        Raises:
            UserError: if the images are too small.
        """
        self.add(self._values(self._prepared(images.samples), self._prepared(images.targets)))

    def _prepared(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 in [-1, 1], resized, on the device."""
        scaled = images.to(self.device) / 127.5 - 1
        if self.resize is not None:
            scaled = F.interpolate(scaled, size=(self.resize, self.resize), mode="bilinear")
        if min(scaled.shape[2:]) < self._smallest:
            raise UserError(
                f"{', '.join(self.names)} need images of {self._smallest} px a side: "
                "use larger images or resize them"
            )
        return scaled

    def _values(self, samples: Tensor, targets: Tensor) -> list[Tensor]:
        """Each metric of each image (B,), in the order of `names`."""
        values = [
            (samples - targets).square().mean(dim=(1, 2, 3)),
            peak_signal_noise_ratio(
                samples, targets, data_range=2.0, dim=(1, 2, 3), reduction="none"
            ),
            structural_similarity_index_measure(samples, targets, data_range=2.0, reduction="none"),
        ]
        if self._lpips is not None:
            values.append(self._lpips(samples, targets).flatten())
        return values
