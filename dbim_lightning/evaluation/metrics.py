"""Paired metrics as running sums, and distances between two sets of image features."""

import math

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from dbim_lightning.errors import UserError

_BLOCK = 2048
_SSIM_WINDOW = 11


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr S_a + tr S_b - 2 tr sqrt(S_a S_b)  (Heusel et al. 2017, section 2).

    With R^T R = S, tr sqrt(S_a S_b) is the nuclear norm of R_a R_b^T, which is small.

    Args:
        features_a: (n, d), n >= 2; `features_b` likewise, (m, d). Computed in float64.
    """
    _check_features(features_a, features_b)
    means, roots = [], []
    for features in (features_a.double(), features_b.double()):
        means.append(features.mean(dim=0))
        centred = (features - means[-1]) / math.sqrt(len(features) - 1)
        roots.append(torch.linalg.qr(centred, mode="r").R)
    traces = sum(root.square().sum() for root in roots)
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return float((means[0] - means[1]).square().sum() + traces - 2 * overlap)


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    """MMD^2 = mean k(a, a') + mean k(b, b') - 2 mean k(a, b), over pairs of different images.

    k(x, y) = (x.y / d + 1)^3, the unbiased estimate over all images at once, which may be
    negative (Binkowski et al. 2018, equation 4 and section 4).

    Args:
        features_a: (n, d), n >= 2; `features_b` likewise, (m, d). Computed in float64.
    """
    _check_features(features_a, features_b)
    n, m = len(features_a), len(features_b)
    within_a = (_kernel_sum(features_a, features_a) - _kernel_trace(features_a)) / (n * (n - 1))
    within_b = (_kernel_sum(features_b, features_b) - _kernel_trace(features_b)) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(features_a, features_b) / (n * m)


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    """Sum of k(x_i, y_j) over all i, j, a block at a time."""
    total = 0.0
    for x_block in x.split(_BLOCK):
        for y_block in y.split(_BLOCK):
            products = x_block.double() @ y_block.double().T
            total += float((products / x.shape[1] + 1).pow(3).sum())
    return total


def _kernel_trace(x: Tensor) -> float:
    """Sum of k(x_i, x_i)."""
    return float((x.double().square().mean(dim=1) + 1).pow(3).sum())


def _check_features(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise UserError(
            f"features of shape {tuple(a.shape)} and {tuple(b.shape)}: "
            "a distance needs (n, d) and (m, d) with at least 2 images each"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise UserError("features hold NaN or infinity: check the images and the feature network")


def distribution_metrics(features: Tensor, reference_features: Tensor) -> dict[str, float]:
    """Distances of (n, d) features to reference features, under the keys of a result row."""
    return {
        "kid_lite0": kernel_distance(features, reference_features),
        "fd_lite0": frechet_distance(features, reference_features),
    }


class ImageMetrics:
    """Judges a stream of images, in batches of any size, against the targets they belong to.

    Paired metrics are taken on [-1, 1]. PSNR is the mean over images of the PSNR of one image,
    since one PSNR over a whole batch would depend on the batch size. The features of the samples
    are kept (5 KB an image), the images are not.

    Args:
        features: (B, 3, H, W) uint8 -> (B, d) float32; None leaves the distances out.
        device: where images are compared.
    """

    def __init__(self, features: nn.Module | None, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.network = None if features is None else features.to(self.device)
        self.num_images = 0
        self._features: list[Tensor] = []
        self._paired = MetricCollection(
            {
                "mse": MeanSquaredError(),
                "psnr": PeakSignalNoiseRatio(data_range=2.0, dim=(1, 2, 3)),
                "ssim": StructuralSimilarityIndexMeasure(data_range=2.0),
            }
        ).to(self.device)

    def update(self, samples: Tensor, targets: Tensor) -> None:
        """Adds a batch; row i of the samples belongs to row i of the targets.

        Args:
            samples: (B, 3, H, W) uint8, 11 px or more on a side; `targets` likewise.
        """
        if samples.dtype != torch.uint8 or targets.dtype != torch.uint8:
            raise UserError(f"images of {samples.dtype} and {targets.dtype}: metrics need uint8")
        if samples.shape != targets.shape or samples.ndim != 4 or samples.shape[1] != 3:
            raise UserError(
                f"samples {tuple(samples.shape)} and targets {tuple(targets.shape)}: "
                "both must be (B, 3, H, W)"
            )
        if min(samples.shape[2:]) < _SSIM_WINDOW:
            raise UserError(f"SSIM needs {_SSIM_WINDOW} px a side: use larger images")
        samples, targets = samples.to(self.device), targets.to(self.device)
        self._paired.update(samples / 127.5 - 1, targets / 127.5 - 1)
        if self.network is not None:
            self._features.append(self.network(samples).float().cpu())
        self.num_images += len(samples)

    def compute(self, reference_features: Tensor | None) -> dict[str, float]:
        """mse, psnr and ssim; with (n, d) reference features also kid_lite0 and fd_lite0.

        PSNR is infinite where a sample equals its target in every pixel.

        Raises:
            UserError: after fewer than 2 images.
        """
        if self.num_images < 2:
            raise UserError(f"metrics of {self.num_images} image(s): evaluate at least 2")
        values = {name: float(value) for name, value in self._paired.compute().items()}
        if reference_features is not None:
            if not self._features:
                raise UserError("reference features without a feature network: pass `features`")
            values |= distribution_metrics(torch.cat(self._features), reference_features.cpu())
        return values
