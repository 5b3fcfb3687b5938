"""The order of training images, as one endless stream that a resumed run continues."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from dbim_lightning.errors import UserError

NO_IMAGES = "the training split has no images: check the dataset and max_images"


@dataclass(eq=False)
class ShuffledStream(Sampler[tuple[int, int]]):
    """Positions, and indices from consecutive permutations of the data, each drawn from (seed, its
    number).

    Args:
        num_images: Size of the data set.
        seed: The same on every rank.
        start: Position to go on from, over all ranks.
        rank: This process takes the positions start + rank, start + rank + world_size, ...
        world_size: Number of processes.

    Raises:
        UserError: An empty data set.
    """

    num_images: int
    seed: int
    start: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        if self.num_images < 1:
            raise UserError(NO_IMAGES)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        number, permutation = -1, torch.empty(0)
        for position in count(self.start + self.rank, self.world_size):
            if position // self.num_images != number:
                number = position // self.num_images
                permutation = self._permutation(number)
            yield position, int(permutation[position % self.num_images])

    def _permutation(self, number: int) -> Tensor:
        mixed = np.random.SeedSequence((self.seed, number)).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        return torch.randperm(self.num_images, generator=generator)
