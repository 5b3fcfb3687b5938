"""Distances between two sets of images in the features of a network: Fréchet distance and KID."""

import logging
from functools import cache

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.metric import Images, Sums
from dbim_lightning.evaluation.moments import KeptFeatures, Moments, mean_and_covariance
from dbim_lightning.evaluation.reference import Reference

_BLOCK = 2048
_say_once = cache(logging.getLogger(__name__).warning)  # and not for every job of a sweep


def frechet_distance_of_moments(
    mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor
) -> float:
    """|mu_a - mu_b|^2 + tr S_a + tr S_b - 2 tr sqrt(S_a S_b)  (Heusel et al. 2017, section 2).

    With R^T R = S_a, tr sqrt(S_a S_b) is the sum of the roots of the eigenvalues of R S_b R^T. R
    comes from the covariance of lower rank, which leaves no eigenvalue that is zero but for
    rounding: singular covariances need no 1e-6 on their diagonals, as published code adds.

    Args:
        mean_a, cov_a: (d,) and (d, d) float64; `mean_b` and `cov_b` likewise.
    """
    root_a, root_b = _root(cov_a), _root(cov_b)
    root, cov = (root_a, cov_b) if len(root_a) <= len(root_b) else (root_b, cov_a)
    overlap = torch.linalg.eigvalsh(root @ cov @ root.T).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap)


def _root(cov: Tensor) -> Tensor:
    """R (rank, d) with R^T R = cov, without the eigenvalues that are zero but for rounding."""
    values, vectors = torch.linalg.eigh(cov)
    positive = values > len(cov) * torch.finfo(cov.dtype).eps * values.max()
    return values[positive].sqrt()[:, None] * vectors[:, positive].T


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


class FeatureDistance:
    """Metric: Fréchet distance and KID of samples to a reference, in the features of a network.

    Their keys end in the network's name: fd_lite0 and kid_lite0. A network with an attribute
    `distance_name`, as Inception's "fid", has it in the place of "fd". KID is over at most
    10,000 images spread evenly over all, and left out where the reference holds no features.

    Args:
        network: of the features.
        device: where the network runs.
        reference: statistics of the same features.
        num_images: that will be seen, by all processes together.

    Raises:
        UserError: if the reference has another number of features.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        device: torch.device | str,
        reference: Reference,
        num_images: int,
    ) -> None:
        d = network.num_features
        if len(reference.mean) != d:
            raise UserError(
                f"a reference of {len(reference.mean)} features for {network.name}, which has {d}: "
                "choose the reference of this network"
            )
        self._frechet = f"{getattr(network, 'distance_name', 'fd')}_{network.name}"
        self._kernel = f"kid_{network.name}"
        has_kernel = reference.features is not None
        self.names = (self._kernel, self._frechet) if has_kernel else (self._frechet,)
        self._network, self._device = network.to(device), device
        self._reference, self._num_images = reference, num_images
        self._moments = Moments(d)
        self._kept = KeptFeatures(num_images, d) if has_kernel else None
        if num_images <= d:
            remedy = f"trust {self._kernel}" if has_kernel else "compare equal numbers of them only"
            _say_once(
                f"{self._frechet} of {num_images} images in {d} features is biased upwards by the "
                f"number of images: {remedy}"
            )

    def update(self, images: Images) -> None:
        """Adds the features of the samples."""
        features = images.features(self._network, self._device)
        self._moments.update(features)
        if self._kept is not None:
            self._kept.update(images.position, features)

    def sums(self) -> Sums:
        """Those of `Moments`, and "kept", the rows of `KeptFeatures`, for KID."""
        kept = {} if self._kept is None else {"kept": self._kept.rows.clone()}
        return self._moments.sums() | kept

    def compute(self, sums: Sums) -> dict[str, float]:
        """The numbers under `names`.

        Raises:
            UserError: if the sums are of another number of images than announced, or not finite.
        """
        if sums["n"] != self._num_images:
            raise UserError(
                f"{self._frechet} of {int(sums['n'])} images, where {self._num_images} were "
                "announced: count every image once"
            )
        mean, cov = mean_and_covariance(sums)
        reference = self._reference
        distance = frechet_distance_of_moments(mean, cov, reference.mean, reference.covariance)
        if reference.features is None:
            return {self._frechet: distance}
        kernel = kernel_distance(sums["kept"], reference.features)
        return {self._kernel: kernel, self._frechet: distance}
