"""What metrics see: sampled images beside their sources and targets, a block at a time."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dbim_lightning.data import Pair
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.pictures import to_uint8

BLOCK = 64
"""Images that metrics see at a time, and that a shard holds, whatever the batch size is."""


@dataclass(frozen=True, eq=False)
class Images:
    """A block of images (B, 3, H, W) uint8 on one device, with data set indices (B,).

    position: (B,), of each image among those that are evaluated: 0, 1, ..., number of images - 1.
    samples: (B, 3, H, W), or (K, B, 3, H, W) where K noises were drawn for each source.
    labels: (B,), or None without classes.
    """

    index: Tensor
    position: Tensor
    sources: Tensor
    samples: Tensor
    targets: Tensor
    labels: Tensor | None = None
    _features: dict[str, Tensor] = field(default_factory=dict, init=False)

    def to(self, device: torch.device) -> "Images":
        """The same with the images on a device; indices, positions and labels stay on the CPU."""
        moved = {name: getattr(self, name).to(device) for name in ("sources", "samples", "targets")}
        return replace(self, **moved)

    def features(self, network: FeatureNetwork) -> Tensor:
        """Of the samples, (B, d) float32 on the CPU; metrics of one network run it once."""
        if network.name not in self._features:
            network.to(self.samples.device)
            self._features[network.name] = network(self.samples).cpu()
        return self._features[network.name]


def own_blocks(count: int, rank: int, world_size: int) -> list[range]:
    """Positions below `count` that one rank evaluates: every world_size-th block of 64."""
    starts = range(rank * BLOCK, count, world_size * BLOCK)
    return [range(start, min(start + BLOCK, count)) for start in starts]


def images_of(block: range, pairs: Pair, samples: Tensor) -> Images:
    """The pairs (a batch) at these positions, and their samples."""
    sources, targets = to_uint8(pairs["x_T"]), to_uint8(pairs["x_0"])
    position = torch.tensor(block)
    return Images(pairs["index"], position, sources, samples, targets, pairs.get("label"))
