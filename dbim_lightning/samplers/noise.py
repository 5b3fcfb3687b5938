"""Noise that belongs to the image: it depends on (seed, image index) alone."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from dbim_lightning.errors import UserError


def mixed_seed(*numbers: int) -> int:
    """A seed from 0 to 2^63 - 1 that depends on all numbers and their order."""
    digest = hashlib.sha256("/".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def image_generator(seed: int, index: int) -> torch.Generator:
    """A CPU generator for one image, whatever batch, order or device it is sampled in."""
    return torch.Generator().manual_seed(mixed_seed(seed, index))


class ImageNoise:
    """Standard normal draws for a batch; the first that a DBIM asks for is the booting noise.

    Args:
        seed: of the whole run.
        indices: the data set index of each image in the batch.
    """

    def __init__(self, seed: int, indices: Iterable[int]):
        self._generators = [image_generator(seed, int(index)) for index in indices]

    def __call__(self, x: Tensor) -> Tensor:
        """The next draw for each image, (B, C, H, W) like x."""
        if len(x) != len(self._generators):
            raise UserError(
                f"noise for {len(self._generators)} image indices, but a batch of {len(x)} images: "
                "give one index per image"
            )
        draws = [torch.randn(x.shape[1:], generator=generator) for generator in self._generators]
        return torch.stack(draws).to(x)
