"""Feature networks that are small enough to follow, images for them, and a distance by hand."""

import math

import torch
from torch import Tensor, nn

from dbim_lightning.evaluation.features import FeatureNetwork


class Quarters(FeatureNetwork):
    """Twelve features: mean of each colour in each quarter of an image."""

    num_features = 12
    name = "quarters"

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


class ChannelMeans(FeatureNetwork):
    """Three features: mean of each colour."""

    num_features = 3
    name = "means"

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


def pictures(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """tr sqrt(S_a S_b) as the nuclear norm of R_a R_b^T, where R^T R = S."""
    means, roots = [], []
    for features in (features_a.double(), features_b.double()):
        means.append(features.mean(dim=0))
        centred = (features - means[-1]) / math.sqrt(len(features) - 1)
        roots.append(torch.linalg.qr(centred, mode="r").R)
    traces = sum(root.square().sum() for root in roots)
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return float((means[0] - means[1]).square().sum() + traces - 2 * overlap)
