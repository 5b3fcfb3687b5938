"""From sources to sampled images, as a stream that metrics consume."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data.pair import sampling_options
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import ImageNoise, Sampler


class Images(NamedTuple):
    """A batch: data set indices (B,), and sources, samples, targets (B, 3, H, W) uint8."""

    index: Tensor
    sources: Tensor
    samples: Tensor
    targets: Tensor


class Generation:
    """Samples a data set; iterating yields `Images` in the order of the data.

    Args:
        sampler, denoiser: on the device that they shall run on.
        data: of `Pair`s.
        seed: of the noise, together with each image's index.
        batch_size: changes no image.

    Attributes:
        calls: network calls in each batch, as counted.
        seconds: spent in sampling alone, so far.
    """

    def __init__(
        self, sampler: Sampler, denoiser: BridgeDenoiser, data: Dataset, seed: int, batch_size: int
    ):
        self.sampler, self.denoiser, self.seed = sampler, denoiser, seed
        self.loader = DataLoader(data, batch_size)
        self.device = next(denoiser.parameters()).device
        self.calls, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[Images]:
        for batch in self.loader:
            start = time.monotonic()
            options = sampling_options(batch, self.device)
            samples = self._sample(batch["x_T"].to(self.device), batch["index"], options)
            self.seconds += time.monotonic() - start
            yield Images(batch["index"], to_uint8(batch["x_T"]), samples, to_uint8(batch["x_0"]))

    def __len__(self) -> int:
        return len(self.loader)

    def _sample(self, x_T: Tensor, index: Tensor, options: dict[str, Tensor]) -> Tensor:
        """One batch of samples, uint8 on the CPU."""
        self.calls = 0
        noise = ImageNoise(self.seed, index.tolist())
        samples = self.sampler.sample(self._counted, self.denoiser.schedule, x_T, noise, **options)
        return to_uint8(samples).cpu()

    def _counted(self, *args: Tensor, **cond: Tensor) -> Tensor:
        self.calls += 1
        return self.denoiser(*args, **cond)
