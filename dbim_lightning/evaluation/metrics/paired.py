"""How near each sample is to its own target: MSE, PSNR, SSIM and LPIPS."""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.weights_files import find_weights, reading, require_tensors
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Column, Means

_WINDOW = 11
# net -> (weights file of its backbone, smallest image side in px)
_LPIPS = {
    "vgg": ("vgg16-397923af.pth", 16),
    "alex": ("alexnet-owt-7be5be79.pth", 31),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", 17),
}


class PairedMetrics(Means):
    """Compares samples with targets on [-1, 1], image by image.

    Every image has the same weight, so the batch size changes nothing. PSNR is the mean over
    images of the PSNR of one image, infinite where a sample equals its target in every pixel.

    Args:
        lpips: the backbone, "vgg", "alex" or "squeeze"; None leaves LPIPS out.
        resize: the side, in px, of the squares that images are resized to first, bilinear without
            antialiasing (published: 224 for images below 256 px); None leaves them as they are.

    Raises:
        UserError: if the weights file of the backbone is missing, or `resize` below 11; in
            `update`, if the images are too small.
    """

    def __init__(self, lpips: str | None = None, resize: int | None = None) -> None:
        if lpips is not None and lpips not in _LPIPS:
            raise UserError(f"LPIPS net {lpips!r}: choose one of {', '.join(_LPIPS)}")
        if resize is not None and resize < _WINDOW:
            raise UserError(f"metrics resize={resize}: use {_WINDOW} or more, or null for as it is")
        self.resize, self._smallest, self._lpips = resize, _WINDOW, None
        self.columns = {
            "mse": Column("MSE", 4, "↓"),
            "psnr": Column("PSNR", 2, "↑", unit="dB", plotted=False),
            "ssim": Column("SSIM", 3, "↑"),
        }
        if lpips is not None:
            file, self._smallest = _LPIPS[lpips]
            self._lpips = _network(lpips, find_weights(file, f"LPIPS {lpips}"))
            self.columns[f"lpips_{lpips}"] = Column(f"LPIPS ({lpips})", 4, "↓")

    def values(self, images: Images) -> dict[str, Tensor]:
        samples, targets = self._prepared(images.samples), self._prepared(images.targets)
        mse = (samples - targets).square().mean(dim=(1, 2, 3))
        values = [mse, 10 * torch.log10(4 / mse), ssim(samples, targets)]
        if self._lpips is not None:
            values.append(self._lpips.to(samples.device)(samples, targets).flatten())
        return dict(zip(self.columns, values, strict=True))

    def _prepared(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 in [-1, 1], resized."""
        scaled = images / 127.5 - 1
        if self.resize is not None:
            scaled = F.interpolate(scaled, size=(self.resize, self.resize), mode="bilinear")
        if min(scaled.shape[2:]) < self._smallest:
            raise UserError(
                f"{', '.join(self.columns)} need images of {self._smallest} px a side: "
                "use larger images or resize them"
            )
        return scaled


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """The structural similarity of images on [-1, 1], (B, C, H, W) each -> (B,).

    (Wang et al. 2004, equation 13) with C_1 = (0.01 L)^2, C_2 = (0.03 L)^2 for the range L = 2, and
    moments in a Gaussian window of 11x11 with deviation 1.5 about every pixel, as torchmetrics has
    it: beyond the border images are reflected.
    """
    c_1, c_2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    distance = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    gaussian = torch.exp(-((distance / 1.5) ** 2) / 2)
    gaussian = gaussian / gaussian.sum()
    window = torch.outer(gaussian, gaussian)[None, None]

    def mean(z: Tensor) -> Tensor:
        padded = F.pad(z, [_WINDOW // 2] * 4, mode="reflect").flatten(0, 1)
        return F.conv2d(padded[:, None], window).unflatten(0, z.shape[:2])[:, :, 0]

    mu_x, mu_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mu_x**2, mean(y * y) - mu_y**2
    cov = mean(x * y) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + c_1) / (mu_x**2 + mu_y**2 + c_1)
    structure = (2 * cov + c_2) / (var_x.clamp(min=0) + var_y.clamp(min=0) + c_2)
    return (luminance * structure).mean(dim=(1, 2, 3))


@cache
def _network(lpips: str, path: Path) -> nn.Module:
    """Read once for all jobs of a sweep; torchmetrics looks for the file at `path`, too."""
    # torchmetrics takes two seconds to import, which evaluations without LPIPS need not wait for.
    from torchmetrics.image.lpip import (  # noqa: PLC0415
        LearnedPerceptualImagePatchSimilarity,
    )

    with reading(path):
        require_tensors(path)
        return LearnedPerceptualImagePatchSimilarity(lpips).net
