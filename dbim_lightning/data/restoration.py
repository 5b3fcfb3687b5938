"""Pairs of an image and its corrupted version, from any folder of images."""

from collections.abc import Callable
from inspect import getmembers, isfunction
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dbim_lightning.data import corruptions
from dbim_lightning.data.images import (
    composed,
    fit,
    image_files,
    is_hidden,
    may_be_deep,
    read_image,
    to_tensor,
)
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.paired_folder import Interpolation
from dbim_lightning.data.ranges import Range, require_range, span_of
from dbim_lightning.data.splits import image_groups, split_folders, split_images
from dbim_lightning.errors import UserError

Corruption = Callable[[Tensor, int], dict[str, Tensor]]


class Restoration(Dataset):
    """Source: a corrupted image. Target: the image, its middle square scaled to `image_size`.

    The corruption depends on the image's index in its split, in training too. Splits are the
    folders train, val or validation or valid, and test, one of the last two being taken for both;
    where neither is there, a hash of the name gives 85% train, 5% validation and 10% test.

    Args:
        split: train, validation or test.
        root: Folder of images, with sub-folders as deep as you like.
        corruption: Name of a function in `data/corruptions.py`, or any function like them.
        image_size: Height and width of the pairs.
        labels: Whether the folders in a split are classes, numbered in the order of their names.
        names: Text file with one name on each line: all that is taken of the test split.
        interpolation: How images are scaled: bicubic or bilinear, with antialiasing, or nearest.
        upscale: Whether smaller images are enlarged; they are refused otherwise.
        range: Values that become black and white in images of more than 8 bits, one choice for
            all: auto, 8bit, 16bit, minmax, or two numbers; see `span_of`.
        check: Refuses values that are no numbers now, rather than on access.
        prepared_by: The command that makes the folder, for the error that asks for it.

    Raises:
        UserError: An option that does not exist, an empty split, an image outside a class folder,
            a listed name without image; on access, an image that is broken or too small.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        corruption: str | Corruption,
        image_size: int = 64,
        labels: bool = False,
        names: str | Path | None = None,
        interpolation: Interpolation = "bicubic",
        upscale: bool = False,
        prepared_by: str | None = None,
        range: Range = "auto",
        check: bool = True,
    ):
        if image_size < 1:
            raise UserError(f"dataset.image_size={image_size} is no size: give a whole number")
        self.image_size, self.upscale = image_size, upscale
        known = get_args(Interpolation)
        if interpolation not in known:
            raise UserError(f"dataset.interpolation={interpolation}: choose {', '.join(known)}")
        require_range(range)
        self.resampling = Image.Resampling[interpolation.upper()]
        self._corrupt = _named(corruption) if isinstance(corruption, str) else corruption
        self._corrupt(torch.zeros(3, image_size, image_size), 0)  # unusable options fail here
        self.folder, found = split_images(Path(root), split)
        if not found:
            remedy = f"prepare it with {prepared_by}, or " if prepared_by else ""
            raise UserError(
                f"no {split} images in {self.folder}: {remedy}set dataset.root to others"
            )
        if names and split == "test":
            found = _listed(found, Path(names))
        self._classes = _classes(Path(root), found) if labels else None
        self._names = np.array(found)  # worker processes share it, as they would not a list
        self._span = None
        if any(map(may_be_deep, found)):
            folders = set(split_folders(Path(root)).values())
            every = [path for folder in sorted(folders) for path in image_files(folder)]
            self._span = span_of(every, range, f"images of {root}", check)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Pair:
        file = str(self._names[index])
        image = read_image(self.folder / file, self._span)
        if min(image.size) < self.image_size and not self.upscale:
            raise UserError(
                f"{self.folder / file} is {image.width}x{image.height}, smaller than "
                f"dataset.image_size={self.image_size}: lower that, or remove the image"
            )
        x_0 = to_tensor(fit(image, self.image_size, "crop", self.resampling))
        name = composed(file.rpartition(".")[0])
        pair = Pair(x_0=x_0, index=index, name=name, **self._corrupt(x_0, index))
        if self._classes is not None:
            pair["label"] = self._classes[composed(file.partition("/")[0])]
        return pair

    @property
    def settled(self) -> dict[str, list]:
        """Options as they turned out to be, which other data of the same kind need."""
        return {"range": list(self._span)} if self._span else {}

    @property
    def num_classes(self) -> int:
        """Of labels, of all splits; 0 without labels."""
        return len(self._classes or {})

    @property
    def files(self) -> list[Path]:
        """Every file that the images are read from."""
        return [self.folder / str(name) for name in self._names]

    @property
    def groups(self) -> list[str]:
        """For each pair the smallest name among those that are links to its file."""
        return image_groups(self.folder, self._names.tolist())


def _named(corruption: str) -> Corruption:
    known = {
        name: function
        for name, function in getmembers(corruptions, isfunction)
        if function.__module__ == corruptions.__name__ and not name.startswith("_")
    }
    if corruption not in known:
        raise UserError(
            f"dataset.corruption={corruption} does not exist: choose {', '.join(known)}, or give "
            "the _target_ of your own function"
        )
    return known[corruption]


def _classes(root: Path, names: list[str]) -> dict[str, int]:
    """Class folder -> label, the same for all splits."""
    outside = [name for name in names if "/" not in name]
    if outside:
        raise UserError(f"{outside[0]} is in no class folder: move it, or dataset.labels=false")
    folders = set(split_folders(root).values())
    inside = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    classes = {composed(path.name) for path in inside if path.is_dir() and not is_hidden(path.name)}
    return {name: label for label, name in enumerate(sorted(classes))}


def _listed(names: list[str], table: Path) -> list[str]:
    """The names that a file lists, of which folder and suffix do not matter."""
    try:
        lines = table.read_text(errors="surrogateescape").split("\n")
        listed = {composed(Path(line).stem) for line in lines if line.strip()}
    except OSError as error:
        raise UserError(f"cannot read dataset.names={table} ({error.strerror})") from error
    kept = [name for name in names if composed(Path(name).stem) in listed]
    missing = sorted(listed - {composed(Path(name).stem) for name in kept})
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} images that are not there, like {missing[0]}"
        )
    return kept
