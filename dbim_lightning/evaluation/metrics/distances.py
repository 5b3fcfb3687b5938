"""Distances between two sets of images in the features of a network: Fréchet distance and KID."""

import torch
from torch import Tensor

from dbim_lightning.errors import UserError

_BLOCK = 2048


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
