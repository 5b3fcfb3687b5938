"""What every metric is: sums over images, which add up over blocks and over processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.references.statistics import Reference

Sums = dict[str, Tensor]
Rows = Sequence[tuple[str, Tensor]]
ReferenceOf = Callable[[FeatureNetwork], Reference]


@dataclass(frozen=True)
class Column:
    """How a number is shown: in tables and plots, and by which of two is the better.

    title: of its column and panel.
    digits: after the point.
    better: "↓" or "↑"; empty where neither is.
    unit: such as "dB"; empty for none.
    scale: by which the number is multiplied.
    plotted: whether it gets a panel.
    note: for the caption: what a reader could take it for and should not.
    """

    title: str
    digits: int
    better: str
    unit: str = ""
    scale: float = 1.0
    plotted: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        if not (type(self.digits) is int and 0 <= self.digits < 20):
            raise UserError(f"digits={self.digits} of the column {self.title}: give 0 to 19")
        if self.better not in ("↓", "↑", ""):
            raise UserError(
                f"better={self.better} of the column {self.title}: give ↓ or ↑, or nothing"
            )


class Metric(ABC):
    """One or several numbers of a result row.

    `sums` are float64 tensors on the CPU whose shapes do not depend on the number of images that
    have been seen. Those of several processes, which have seen different images, are added before
    `compute`; nothing else passes between processes. Features that are kept by position may be
    float32: all but one process have zeros there, so that adding does not round.

    Attributes:
        columns: the key of each number in result rows, and how it is shown.
        noises: how many samples of each source `update` sees at once: 1, or K that were drawn with
            different noises (only where a bridge samples, and for some of the sources); 0 leaves
            the metric out.
        judges_sets: whether it says something of images that are nobody's samples, as training
            targets are, which are then judged for comparison.
    """

    columns: Mapping[str, Column]
    noises = 1
    judges_sets = False
    rows: Rows = ()
    compares_with_training = False

    def compare_with(self, reference_of: ReferenceOf) -> None:
        """Takes the statistics that it compares with, before the first image; most need none."""

    def compare_with_training(self, data: Dataset, reference_of: ReferenceOf) -> None:
        """Takes the training pairs, and the features of all of their targets, in this order."""

    @abstractmethod
    def reset(self, num_images: int) -> None:
        """Forgets all images; this many will follow, in all processes together."""

    @abstractmethod
    def update(self, images: Images) -> None:
        """Adds a block of images, on the device where the metric shall compute."""

    @abstractmethod
    def sums(self) -> Sums:
        """What has been added so far."""

    @abstractmethod
    def compute(self, sums: Sums) -> dict[str, float]:
        """The numbers, by the keys of `columns`; one that cannot be had is left out."""


class Means(Metric):
    """What metrics have in common that are means over images: subclasses give `values`."""

    @abstractmethod
    def values(self, images: Images) -> dict[str, Tensor]:
        """Each number of each image, (B,), by the keys of `columns`."""

    def reset(self, num_images: int) -> None:
        self._sums = {key: torch.zeros((), dtype=torch.float64) for key in ("count", *self.columns)}

    @torch.no_grad()
    def update(self, images: Images) -> None:
        values, per_image = self.values(images), (len(images.position),)
        shapes = {key: tuple(value.shape) for key, value in values.items()}
        if shapes != dict.fromkeys(self.columns, per_image):
            raise UserError(
                f"{type(self).__name__}.values gave the shapes {shapes}: give "
                f"{', '.join(self.columns)}, each as {per_image}, a number for each image"
            )
        for key, value in values.items():
            self._sums[key] += value.cpu().double().sum()
        self._sums["count"] += len(images.position)

    def sums(self) -> Sums:
        """The number of images, and of each number the sum over them."""
        return {key: value.clone() for key, value in self._sums.items()}

    def compute(self, sums: Sums) -> dict[str, float]:
        """Means over images."""
        return {key: float(sums[key] / sums["count"]) for key in self.columns}
