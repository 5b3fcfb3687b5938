"""Samples that another program made, from their files."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dbim_lightning.archives import UNREADABLE, header, opened_arrays
from dbim_lightning.data import spread
from dbim_lightning.data.images import read_image
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import Images, images_of, own_blocks
from dbim_lightning.evaluation.samples.matching import matched
from dbim_lightning.files import printable
from dbim_lightning.pictures import to_uint8

log = logging.getLogger(__name__)
CHECKED = 64  # images, by which the pairing is checked


class GivenSamples:
    """Yields `Images` like `Generation`, with samples from files in place of a network's.

    Args:
        path: A folder of images, in sub-folders or not, each named as its pair, or as the last part
            of its pair's name where that is unique; else by number (`matched`). Or an .npz file
            with arr_0, (N, H, W, 3) uint8 in the order of `data`, of which all is held in memory.
        data: the pairs that the samples belong to, all of them.
        rank, world_size: which of how many processes this is.

    Raises:
        UserError: samples without pair, pairs without sample, or a file that is not what it should
            be; for a folder's images that cannot be read or have a wrong size, at the latest once
            iterating.

    The first process warns where samples are no nearer to their own targets than to others.
    """

    def __init__(self, path: str | Path, data: Dataset, rank: int = 0, world_size: int = 1):
        path = Path(path)
        if not path.is_dir() and not (path.suffix == ".npz" and path.is_file()):
            raise UserError(f"no samples at {path}: name a folder of images or an .npz file")
        self.data = data
        self.blocks = own_blocks(len(data), rank, world_size)
        self._given = matched(path, data) if path.is_dir() else _array(path, data)
        if rank == 0:
            self._check_pairing(path)

    def _check_pairing(self, path: Path) -> None:
        some = spread(range(len(self.data)), min(CHECKED, len(self.data)))
        targets = torch.stack([to_uint8(self.data[i]["x_0"]) for i in some]).float() / 127.5
        height, width = targets.shape[2:]
        samples = [_pixels(self._given[i], height, width) for i in some]
        samples = torch.stack(samples).float() / 127.5
        own, others = ((samples - t).square().mean().item() for t in (targets, targets.roll(1, 0)))
        if own >= others:
            log.warning(
                f"the samples in {printable(str(path))} are no nearer to their own targets (MSE "
                f"{own:.4f}) than to those of other pairs ({others:.4f}): check their order, or "
                "name each file as its pair"
            )

    def __iter__(self) -> Iterator[Images]:
        for block in self.blocks:
            pairs = default_collate([self.data[position] for position in block])
            height, width = pairs["x_0"].shape[2:]
            samples = [_pixels(self._given[position], height, width) for position in block]
            yield images_of(block, pairs, torch.stack(samples))


def _pixels(given: Path | np.ndarray, height: int, width: int) -> Tensor:
    """A sample (3, H, W) uint8, from its file or from (H, W, 3)."""
    pixels = given if isinstance(given, np.ndarray) else np.array(read_image(given))
    if pixels.shape != (height, width, 3):
        raise UserError(
            f"{given} is {pixels.shape[1]}x{pixels.shape[0]}, but its pair is {width}x{height}: "
            "write the samples in the size of the data"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _array(path: Path, data: Dataset) -> np.ndarray:
    """The samples (N, H, W, 3) of an .npz file."""
    expected = (len(data), *data[0]["x_0"].shape[1:], 3)
    try:
        with opened_arrays(path) as arrays:
            if "arr_0" not in arrays:
                raise UserError(f"{path} has no arr_0: save with np.savez(path, samples)")
            found = header(arrays, "arr_0")
            if found.dtype != np.uint8:
                raise UserError(f"arr_0 of {path} is {found.dtype}: save levels 0 to 255 as uint8")
            if found.shape != expected:
                raise UserError(
                    f"arr_0 of {path} is {found.shape}, but the data are {expected}: give one "
                    "sample for each pair in their order, or choose split and num_images to fit"
                )
            return arrays["arr_0"]
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npz ({error}): write it again") from error
