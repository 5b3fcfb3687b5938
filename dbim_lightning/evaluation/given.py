"""Samples as files: those that another program made are read, ours are written as PNG."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dbim_lightning.data.images import image_names, read_image
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.generate import images_of, own_blocks
from dbim_lightning.evaluation.metric import Images
from dbim_lightning.files import write_whole


class GivenSamples:
    """Yields `Images` like `Generation`, with samples from files in place of a network's.

    Args:
        path: A folder of images, in sub-folders or not, each named as its pair, or as the last part
            of its pair's name where that is unique; if no name fits and all are whole numbers, by
            index in the data set. Or an .npz file with arr_0, (N, H, W, 3) uint8 in the order of
            `data`, of which all is held in memory.
        data: the pairs that the samples belong to, all of them.
        rank, world_size: which of how many processes this is.

    Raises:
        UserError: samples without pair, pairs without sample, or a file that is not what it should
            be; for a folder's images that cannot be read or have a wrong size, once iterating.
    """

    def __init__(self, path: str | Path, data: Dataset, rank: int = 0, world_size: int = 1):
        path = Path(path)
        if not path.is_dir() and not (path.suffix == ".npz" and path.is_file()):
            raise UserError(f"no samples at {path}: name a folder of images or an .npz file")
        self.data = data
        self.blocks = own_blocks(len(data), rank, world_size)
        self._given = _matched(path, data) if path.is_dir() else _array(path, data)

    def __iter__(self) -> Iterator[Images]:
        for block in self.blocks:
            pairs = default_collate([self.data[position] for position in block])
            height, width = pairs["x_0"].shape[2:]
            samples = [_pixels(self._given[position], height, width) for position in block]
            yield images_of(block, pairs, torch.stack(samples))

    def __len__(self) -> int:
        return len(self.blocks)


def save_png(stream: Iterable[Images], data: Dataset, folder: str | Path) -> int:
    """Writes each sample as a PNG file with the name of its pair, and returns their number.

    A file that holds the very pixels already is kept. `GivenSamples` reads the folder again.

    Args:
        stream: all of a `Generation`, or some of its images.
        data: that they were sampled from.
        folder: for names with "/" also its sub-folders are made.

    Raises:
        UserError: a folder that cannot be written, or a name that leads out of it.
    """
    count = 0
    for images in stream:
        samples = images.samples.permute(0, 2, 3, 1).numpy()
        for position, pixels in zip(images.position.tolist(), samples, strict=True):
            name = data[position]["name"]
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise UserError(f"the pair {name} names a file outside {folder}: rename the pair")
            path = Path(folder) / f"{name}.png"
            if not _holds(path, pixels):
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
                write_whole(path, file.getvalue())
        count += len(samples)
    return count


def _holds(path: Path, pixels: np.ndarray) -> bool:
    try:
        return np.array_equal(read_image(path), pixels)
    except UserError:
        return False


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
    try:
        with np.load(path) as arrays:
            samples = arrays["arr_0"]
    except KeyError as error:
        raise UserError(f"{path} has no arr_0: save with np.savez(path, samples)") from error
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not a readable .npz ({error}): write it again") from error
    if samples.dtype != np.uint8:
        raise UserError(f"arr_0 of {path} is {samples.dtype}: save levels 0 to 255 as uint8")
    expected = (len(data), *data[0]["x_0"].shape[1:], 3)
    if samples.shape != expected:
        raise UserError(
            f"arr_0 of {path} is {samples.shape}, but the data are {expected}: give one sample "
            "for each pair in their order, or choose split and num_images to fit"
        )
    return samples


def _matched(folder: Path, data: Dataset) -> list[Path]:
    """The file of each position."""
    files = _unique([(name.rpartition(".")[0], folder / name) for name in image_names(folder)])
    pairs = track(range(len(data)), "Reading the names of the pairs")
    names, indices = zip(*[(data[i]["name"], data[i]["index"]) for i in pairs], strict=True)
    keys = _keys(names, files)
    if files.keys().isdisjoint(keys) and all(stem.isdecimal() for stem in files):
        files = _unique([(str(int(stem)), path) for stem, path in files.items()])
        keys = [str(index) for index in indices]
    missing = [name for name, key in zip(names, keys, strict=True) if key not in files]
    if missing:
        raise UserError(
            f"{folder} lacks the samples of {len(missing)} of {len(names)} pairs "
            f"({_first_ten(missing)}): name each file as its pair, or lower num_images"
        )
    surplus = [str(files[key].relative_to(folder)) for key in sorted(files.keys() - set(keys))]
    if surplus:
        raise UserError(
            f"{folder} has {len(surplus)} images that belong to no pair ({_first_ten(surplus)}): "
            "remove them, or choose split and num_images to fit"
        )
    return [files[key] for key in keys]


def _keys(names: Sequence[str], files: dict[str, Path]) -> Sequence[str]:
    """The pairs' names or, where these are unique and fit more files, the last parts of them."""
    last = [name.rpartition("/")[2] for name in names]
    unique = len(set(last)) == len(last)
    return last if unique and len(files.keys() & last) > len(files.keys() & names) else names


def _unique(files: list[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for key, path in files:
        if key in found:
            raise UserError(f"{found[key]} and {path} have one name: remove one of them")
        found[key] = path
    return found


def _first_ten(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
