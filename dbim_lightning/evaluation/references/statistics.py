"""Statistics of reference images in the features of a network."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.moments import (
    KEPT_IMAGES,
    KeptFeatures,
    Moments,
    mean_and_covariance,
)
from dbim_lightning.evaluation.features.network import FeatureNetwork


class Reference(NamedTuple):
    """Mean (d,) and covariance (d, d) in float64; features (m, d) float32 for KID, or None."""

    mean: Tensor
    covariance: Tensor
    features: Tensor | None


def make_reference(
    images: Iterable[Tensor],
    num_images: int,
    network: FeatureNetwork,
    device: torch.device | str,
    at_most: int = KEPT_IMAGES,
) -> Reference:
    """Statistics of a stream of images, in batches (B, 3, H, W) uint8 of any size.

    Args:
        at_most: images whose features are kept.

    Raises:
        UserError: if it is not of `num_images` images, 2 or more, or features are not finite.
    """
    network = network.to(device)
    features = (network(batch.to(device)) for batch in images)
    return statistics_of(features, num_images, network.num_features, at_most)


def statistics_of(
    features: Iterable[Tensor], num_images: int, num_features: int, at_most: int = KEPT_IMAGES
) -> Reference:
    """Of a stream of features (B, d) in the order of their images."""
    moments, kept = Moments(num_features), KeptFeatures(num_images, num_features, at_most)
    for position, batch in numbered(features):
        moments.update(batch)
        kept.update(position, batch)
    sums = moments.sums()
    if sums["n"] != num_images:
        raise UserError(f"{int(sums['n'])} reference images: {num_images} were announced")
    return Reference(*mean_and_covariance(sums), kept.rows)


def numbered(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch with the positions (B,) of its rows in the stream."""
    start = 0
    for batch in batches:
        yield torch.arange(start, start + len(batch)), batch
        start += len(batch)
