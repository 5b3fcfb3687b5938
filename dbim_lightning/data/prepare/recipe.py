"""What the data sets have in common that come as archives and are packed for training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from shutil import copyfile

from torch.utils.data import Dataset

from dbim_lightning.data.packed import PackedPairs, pack
from dbim_lightning.data.prepare.download import Archive, fetch
from dbim_lightning.data.prepare.unpack import is_unpacked, require_same, unpack
from dbim_lightning.errors import UserError
from dbim_lightning.files import writing

SPLITS = {"train": "train", "val": "test"}  # what archives call them -> what we call them


@dataclass(frozen=True)
class Recipe:
    """How one data set is made.

    archives: what it comes in.
    place: the name of a file in them -> where it goes in the unpacked folder, or None.
    pairs: (unpacked folder, split, image size) -> what is packed.
    image_size: of the papers.
    published: split -> number of pairs.
    train: the choices for a training.
    lists: files that may be given beside the archives.
    """

    archives: tuple[Archive, ...]
    place: Callable[[str], str | None]
    pairs: Callable[[Path, str, int], Dataset]
    image_size: int
    published: Mapping[str, int]
    train: str
    lists: tuple[str, ...] = ()


def make(
    recipe: Recipe,
    folder: Path,
    image_size: int,
    urls: Sequence[str],
    given: Mapping[str, Path],
    workers: int,
    skip_broken: bool,
) -> dict[str, PackedPairs]:
    """Downloads, unpacks and packs what `folder` lacks, into FOLDER/<image_size>px.

    Returns:
        The splits.

    Raises:
        UserError: From downloading, unpacking or packing.
    """
    packed, unpacked = folder / f"{image_size}px", folder / "unpacked"
    for archive in recipe.archives:
        if archive.name in given:
            require_same(given[archive.name], unpacked)
    missing = [split for split in SPLITS.values() if not (packed / split).is_dir()]
    if missing:
        _bring(recipe, folder / "archives", unpacked, urls, given)
    for split in missing:
        pairs, made_with = recipe.pairs(unpacked, split, image_size), {"image_size": image_size}
        pack(pairs, packed / split, workers, skip_broken, made_with)
    return {split: PackedPairs(split, packed) for split in SPLITS.values()}


def _bring(
    recipe: Recipe, downloads: Path, unpacked: Path, urls: Sequence[str], given: Mapping[str, Path]
) -> None:
    for archive in recipe.archives:
        if not is_unpacked(archive.name, unpacked):
            try:
                path = fetch(archive, downloads, urls, given)
            except UserError as error:
                if not archive.optional:
                    raise
                print(f"going on without {archive.name}: {error}")
            else:
                unpack(path, unpacked, recipe.place)
    for name in recipe.lists:
        place = unpacked / name
        if name in given and not (place.exists() and cmp(given[name], place, shallow=False)):
            with writing(place):  # a new copy would change what packing knows it by
                copyfile(given[name], place)
