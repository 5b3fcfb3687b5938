"""What every metric is: sums over images, which add up over batches and over processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from dbim_lightning.evaluation.features import FeatureNetwork

Sums = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of (B, 3, H, W) uint8 on the CPU, with data set indices (B,).

    position: (B,), of each image among those that are evaluated: 0, 1, ..., number of images - 1.
    labels: (B,), or None without classes.
    """

    index: Tensor
    position: Tensor
    sources: Tensor
    samples: Tensor
    targets: Tensor
    labels: Tensor | None = None
    _features: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __getitem__(self, rows: slice | Tensor) -> "Images":
        parts = (self.index, self.position, self.sources, self.samples, self.targets)
        labels = None if self.labels is None else self.labels[rows]
        return Images(*(part[rows] for part in parts), labels)

    def features(self, network: FeatureNetwork, device: torch.device | str) -> Tensor:
        """Of the samples, (B, d) float32 on the CPU; metrics of one network run it once."""
        if network.name not in self._features:
            self._features[network.name] = network(self.samples.to(device)).cpu()
        return self._features[network.name]


class Means:
    """What metrics have in common that are means over images: their sums, and "count"."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._sums = {name: torch.zeros((), dtype=torch.float64) for name in ("count", *names)}

    def add(self, values: Sequence[Tensor]) -> None:
        """Each metric of each image of a batch, (B,), in the order of `names`."""
        self._sums["count"] += len(values[0])
        for name, value in zip(self.names, values, strict=True):
            self._sums[name] += value.cpu().double().sum()

    def sums(self) -> Sums:
        """The number of images, and of each metric the sum over them."""
        return {name: value.clone() for name, value in self._sums.items()}

    def compute(self, sums: Sums) -> dict[str, float]:
        """Means over images."""
        return {name: float(sums[name] / sums["count"]) for name in self.names}


class Metric(Protocol):
    """One or several numbers of a result row.

    `sums` are float64 tensors on the CPU whose shapes do not depend on the number of images that
    have been seen. Those of several processes, which have seen different images, are added before
    `compute`; nothing else passes between processes. Features that are kept by position may be
    float32: all but one process have zeros there, so that adding does not round.
    """

    names: tuple[str, ...]

    def update(self, images: Images) -> None: ...

    def sums(self) -> Sums: ...

    def compute(self, sums: Sums) -> dict[str, float]: ...
