"""The few samples that people look at."""

from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import Dataset, Subset, default_collate

from dbim_lightning.evaluation.features.moments import KeptFeatures
from dbim_lightning.evaluation.images import Images, images_of
from dbim_lightning.evaluation.processes import all_reduce_sums

SHOWN = 12


class ShownSamples:
    """The samples of a few images, spread over the data, taken from a stream that passes by."""

    def __init__(self, data: Dataset):
        self._num_images, self._size = len(data), data[0]["x_0"].numel()
        self.data = Subset(data, self._fresh().positions.tolist())

    def _fresh(self) -> KeptFeatures:
        return KeptFeatures(self._num_images, self._size, SHOWN)

    def watched(self, stream: Iterable[Images]) -> Iterator[Images]:
        self._kept = self._fresh()
        for images in stream:
            self._kept.update(images.position, images.samples.flatten(1))
            yield images

    def images(self) -> Images:
        """Of all processes together."""
        rows = all_reduce_sums({"samples": self._kept.rows})["samples"]
        pairs = default_collate([self.data[i] for i in range(len(self.data))])
        return images_of(range(len(rows)), pairs, rows.to(torch.uint8).view_as(pairs["x_0"]))
