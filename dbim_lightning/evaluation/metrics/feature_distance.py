"""Distances between samples and reference images in the features of a network."""

import logging
from functools import cache

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.moments import KeptFeatures, Moments, mean_and_covariance
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.distances import (
    frechet_distance_of_moments,
    kernel_distance,
)
from dbim_lightning.evaluation.metrics.metric import Column, Metric, ReferenceOf, Sums

_say_once = cache(logging.getLogger(__name__).warning)  # and not for every job of a sweep


class FeatureDistance(Metric):
    """KID and Fréchet distance of samples to a reference, in the features of a network.

    KID is over at most 10,000 images spread evenly over all, and left out where the reference
    holds no features.

    Args:
        network: of the features.

    Raises:
        UserError: in `compare_with`, if the reference has another number of features; in `compute`,
            if the sums are of another number of images than announced, or not finite.
    """

    judges_sets = True

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network
        self._frechet = f"{network.distance_title.lower()}_{network.name}"
        self._kernel = f"kid_{network.name}"
        distance = network.titled(network.distance_title)
        self.columns = {
            self._kernel: Column(network.titled("KID × 10³"), 2, "↓", scale=1e3, note=network.note),
            self._frechet: Column(distance, 2, "↓", note=network.note),
        }

    def compare_with(self, reference_of: ReferenceOf) -> None:
        self._reference, d = reference_of(self.network), self.network.num_features
        if len(self._reference.mean) != d:
            raise UserError(
                f"a reference of {len(self._reference.mean)} features for {self.network.name}, "
                f"which has {d}: choose the reference of this network"
            )
        if self._reference.features is None:
            self.columns = {self._frechet: self.columns[self._frechet]}

    def reset(self, num_images: int) -> None:
        d, has_kernel = self.network.num_features, self._reference.features is not None
        self._num_images, self._moments = num_images, Moments(d)
        self._kept = KeptFeatures(num_images, d) if has_kernel else None
        if num_images <= d:
            remedy = f"trust {self._kernel}" if has_kernel else "compare equal numbers of them only"
            _say_once(
                f"{self._frechet} of {num_images} images in {d} features is biased upwards by the "
                f"number of images: {remedy}"
            )

    def update(self, images: Images) -> None:
        """Adds the features of the samples."""
        features = images.features(self.network)
        self._moments.update(features)
        if self._kept is not None:
            self._kept.update(images.position, features)

    def sums(self) -> Sums:
        """Those of `Moments`, and "kept", the rows of `KeptFeatures`, for KID."""
        kept = {} if self._kept is None else {"kept": self._kept.rows.clone()}
        return self._moments.sums() | kept

    def compute(self, sums: Sums) -> dict[str, float]:
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
