"""Any dataset of pairs, as the loaders that the Trainer asks for."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Subset

from dbim_lightning.data import Pair, spread
from dbim_lightning.data.subset import settled
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.noise import mixed_seed
from dbim_lightning.training.stream import NO_IMAGES, ShuffledStream

_SPLITS_OF_STAGE = {"fit": ("train", "validation"), "validate": ("validation",)}


class TrainingPairs(Dataset):
    """Pairs with "seed", of the random numbers that training draws for them.

    All that is drawn follows from the position in the stream, whichever process or run comes there:
    what a data set draws from `random`, NumPy's and torch's global generators, flips, and "seed".

    Args:
        dataset: of the split.
        seed: of the stream.
        flip: mirrors target, source and mask together, with probability 0.5.
    """

    def __init__(self, dataset: Dataset, seed: int, flip: bool):
        self.dataset, self.seed, self.flip = dataset, seed, flip

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, int]) -> Pair:
        position, index = place
        seed = mixed_seed(self.seed, position)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        pair = {**self.dataset[index], "seed": mixed_seed(self.seed, position, 1)}
        if self.flip and torch.rand(()) < 0.5:
            for key in pair.keys() & {"x_0", "x_T", "mask"}:
                pair[key] = pair[key].flip(-1)
        return pair


class PairDataModule(LightningDataModule):
    """Training is endless, up to `trainer.max_steps`; a resumed run goes on in the same order.

    Validation visits every image once, rank r taking r, r + world_size, ... The loaders shard
    themselves, so the Trainer needs `use_distributed_sampler=False`.

    Args:
        dataset: Builds a split from its name: train, validation or test.
        batch_size: Images per process and batch.
        flip: Whether training mirrors half of the pairs.
        num_workers: Processes that load images.
        seed: Of the training order.
        max_images: Limits every split to its first images, for a quick trial.
        num_validation_images: At most so many are validated on, spread evenly over the split.
    """

    def __init__(
        self,
        dataset: Callable[[str], Dataset],
        batch_size: int,
        flip: bool = True,
        num_workers: int = 0,
        seed: int = 0,
        max_images: int | None = None,
        num_validation_images: int = 1000,
    ):
        super().__init__()
        limits = {"batch_size": batch_size, "num_validation_images": num_validation_images}
        if max_images is not None:
            limits["max_images"] = max_images
        if low := [f"{key}={value}" for key, value in limits.items() if value < 1]:
            raise UserError(f"data module with {', '.join(low)}: use 1 or more")
        if num_workers < 0:
            raise UserError(f"data module with {num_workers=}: use 0 or more")
        self.dataset = dataset
        self.batch_size = batch_size
        self.flip = flip
        self.num_workers = num_workers
        self.seed = seed
        self.max_images = max_images
        self.num_validation_images = num_validation_images
        self._splits: dict[str, Dataset] = {}
        self._earlier: tuple[int, int] | None = None

    def prepare_data(self) -> None:
        """Lets the datasets write what they need, in one process of each node."""
        self.setup(self.trainer.state.fn)

    def setup(self, stage: str) -> None:
        for split in _SPLITS_OF_STAGE[stage]:
            if split not in self._splits:
                self._splits[split] = self._limit(self.dataset(split))

    @property
    def training_pairs(self) -> Dataset:
        """Once they are set up.

        Raises:
            UserError: There are none.
        """
        if not len(self._splits["train"]):
            raise UserError(NO_IMAGES)
        return self._splits["train"]

    @property
    def settled(self) -> dict[str, Any]:
        """Options of the data set that turned out only when it was read."""
        return settled(self._splits["train"])

    def _position(self) -> int:
        """How many images the training has seen, in all processes and runs together."""
        trainer = self.trainer
        images_per_step = trainer.accumulate_grad_batches * self.batch_size * trainer.world_size
        step, images = self._earlier or (0, 0)
        return images + (trainer.global_step - step) * images_per_step

    def state_dict(self) -> dict[str, int]:
        """For checkpoints: a resumed run goes on after these images, whatever its batch size is."""
        return {"step": self.trainer.global_step, "images": self._position()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._earlier = state["step"], state["images"]

    def train_dataloader(self) -> DataLoader:
        """Batches from `trainer.global_step` on.

        Raises:
            UserError: The split is empty.
        """
        trainer, data = self.trainer, self._splits["train"]
        stream = ShuffledStream(
            num_images=len(data),
            seed=self.seed,
            start=self._position(),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return self._loader(TrainingPairs(data, self.seed, self.flip), sampler=stream)

    def val_dataloader(self) -> DataLoader:
        """A fixed subset where the split is large.

        Raises:
            UserError: Fewer images than processes.
        """
        data = self._splits["validation"]
        if len(data) < self.trainer.world_size:
            raise UserError(
                f"{len(data)} validation images for {self.trainer.world_size} processes: give one "
                "to each, or trainer.limit_val_batches=0"
            )
        if len(data) > self.num_validation_images:
            data = spread(data, self.num_validation_images)
        own = range(self.trainer.global_rank, len(data), self.trainer.world_size)
        return self._loader(Subset(data, own))

    def transfer_batch_to_device(
        self, batch: Pair, device: torch.device, dataloader_idx: int
    ) -> Pair:
        """The seeds stay, so that reading them does not wait for the device."""
        on_cpu = {key: batch[key] for key in batch.keys() & {"seed"}}
        rest = {key: value for key, value in batch.items() if key not in on_cpu}
        return super().transfer_batch_to_device(rest, device, dataloader_idx) | on_cpu

    def _limit(self, data: Dataset) -> Dataset:
        if self.max_images is None:
            return data
        return Subset(data, range(min(self.max_images, len(data))))

    def _loader(self, data: Dataset, **options) -> DataLoader:
        return DataLoader(
            data,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )
