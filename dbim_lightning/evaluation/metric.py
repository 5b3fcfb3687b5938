"""What every metric is: sums over images, which add up over batches and over processes."""

from typing import NamedTuple, Protocol

from torch import Tensor

Sums = dict[str, Tensor]


class Images(NamedTuple):
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
