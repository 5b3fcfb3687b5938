"""From sources to images that a bridge samples, as a stream that metrics consume."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data import Pair
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import BLOCK, Images, images_of, own_blocks
from dbim_lightning.evaluation.samples.shards import SampleShards, Shard
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import Sampler, draw


@dataclass(eq=False)
class Generation:
    """Samples a data set; iterating yields `Images`, a block of 64 at a time, in order of position.

    Each image is sampled by one rank, once. Killed and begun again with the same batch size and
    number of ranks, it yields the same stream bit by bit; with others, the same images but for the
    rounding of the network.

    Args:
        sampler, denoiser: on the device that they shall run on.
        data: of `Pair`s.
        seed: of the noise, together with each image's index.
        batch_size: of sampling; above 64 it is rounded down to a multiple of 64.
        rank, world_size: which of how many processes this is.
        shards: where samples are kept, and read from if they are there.
        rounding: how samples become uint8: to the "nearest" level, or "down", as published.

    Raises:
        UserError: a batch size below 1.

    Attributes:
        calls: network calls in each batch, as counted.
        seconds: spent in sampling alone, so far; of a kept shard, those that it took once.
    """

    sampler: Sampler
    denoiser: BridgeDenoiser
    data: Dataset
    seed: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    shards: SampleShards | None = None
    rounding: str = "nearest"

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size}: use 1 or more")
        self.blocks = own_blocks(len(self.data), self.rank, self.world_size)
        self.blocks_at_once = max(1, self.batch_size // BLOCK)
        self.batch_size = min(self.batch_size, self.blocks_at_once * BLOCK)
        self.calls, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[Images]:
        for first in range(0, len(self.blocks), self.blocks_at_once):
            yield from self._together(self.blocks[first : first + self.blocks_at_once])

    def _together(self, blocks: list[range]) -> Iterator[Images]:
        """Blocks that share batches: all are sampled anew if one is missing.

        So a batch holds the same images whatever was kept, and its rounding is the same.
        """
        pairs = [[self.data[position] for position in block] for block in blocks]
        batches = [default_collate(some) for some in pairs]
        shards = [self.shards and self.shards.read(*of) for of in zip(blocks, batches, strict=True)]
        if None in shards:
            for i, fresh in enumerate(self._sample_all(pairs)):
                if shards[i] is None:
                    shards[i] = fresh
                    if self.shards:
                        self.shards.write(blocks[i], batches[i], fresh)
        for block, batch, shard in zip(blocks, batches, shards, strict=True):
            self.calls = shard.calls
            self.seconds += shard.seconds
            yield images_of(block, batch, shard.samples)

    def _sample_all(self, blocks: list[list[Pair]]) -> list[Shard]:
        """A shard of samples for each block, which share the time by their number of images."""
        pairs = [pair for block in blocks for pair in block]
        parts, seconds = [], 0.0
        for first in range(0, len(pairs), self.batch_size):
            batch = default_collate(pairs[first : first + self.batch_size])
            start = time.monotonic()
            parts.append(self._sample(batch))
            seconds += time.monotonic() - start
        samples = torch.cat(parts).split([len(block) for block in blocks])
        return [Shard(part, self.calls, seconds * len(part) / len(pairs)) for part in samples]

    def _sample(self, batch: Pair) -> Tensor:
        """One batch of samples, uint8 on the CPU."""
        self.calls = 0
        counting = self.denoiser.register_forward_hook(self._count)
        try:
            samples = draw(self.denoiser, self.sampler, batch, self.seed)
        finally:
            counting.remove()
        return to_uint8(samples, self.rounding).cpu()

    def _count(self, *_: Any) -> None:
        self.calls += 1
