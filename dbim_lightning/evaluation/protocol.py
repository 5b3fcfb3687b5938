"""How a bridge is judged: a named choice of images, features, resizing and references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.backbones import ClassifierAccuracy
from dbim_lightning.evaluation.distances import FeatureDistance
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.inception import Inception, InceptionScore
from dbim_lightning.evaluation.metric import Metric
from dbim_lightning.evaluation.paired import PairedMetrics
from dbim_lightning.evaluation.reference import Reference


@dataclass(frozen=True)
class Protocol:
    """Making one checks that every weights file is there, before any image is sampled.

    name: as result rows state it.
    split: of the data that is sampled and judged.
    features: networks in whose features samples are compared with reference images.
    inception_score: the network of the Inception score, or None.
    paired: options of `PairedMetrics`, or None to compare no image with its own target.
    accuracy: whether ResNet-50 shall recognise the samples.
    truncates: whether samples become uint8 by cutting off, as published, rather than by rounding.
    reference: npz of reference statistics for the first of `features`, or None for the targets.
    reference_options: of the data set, where the reference is of other images than those judged.
    diversity: how many booting noises per source, 2 or more, to compare in the first of `features`,
        over 64 sources; 0 leaves it out.
    context: whether bare sources and training targets are judged as well, for comparison.
    """

    name: str
    split: str = "test"
    features: Sequence[FeatureNetwork] = ()
    inception_score: Inception | None = None
    paired: Mapping[str, Any] | None = None
    accuracy: bool = False
    truncates: bool = False
    reference: str | None = None
    reference_options: Mapping[str, Any] = field(default_factory=dict)
    diversity: int = 0
    context: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.diversity, int)
        if self.diversity and (not whole or self.diversity < 2 or not self.features):
            raise UserError(f"metrics.diversity={self.diversity}: 2 or more, with metrics.features")
        if self.paired is not None:
            PairedMetrics(**self.paired)
        if self.accuracy:
            ClassifierAccuracy()

    def metrics(
        self, references: Sequence[Reference], num_images: int, device: torch.device
    ) -> list[Metric]:
        """Fresh metrics for one job, with a reference for each of `features`."""
        found: list[Metric] = [
            FeatureDistance(network, device, reference, num_images)
            for network, reference in zip(self.features, references, strict=True)
        ]
        if self.inception_score is not None:
            found.append(InceptionScore(self.inception_score, num_images, device))
        if self.paired is not None:
            found.append(PairedMetrics(device, **self.paired))
        if self.accuracy:
            found.append(ClassifierAccuracy(device))
        return found
