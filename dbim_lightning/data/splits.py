"""Which images belong to which split."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from dbim_lightning.data.images import composed, image_names
from dbim_lightning.errors import UserError

SPLITS = ("train", "validation", "test")
SPLIT_OF_FOLDER = {split: split for split in SPLITS} | dict.fromkeys(("val", "valid"), "validation")


def split_by_hash(name: str) -> str:
    """The split that a name belongs to: 85% are train, 5% validation, 10% test."""
    digest = sha256(composed(name).encode(errors="surrogateescape")).hexdigest()
    residue = int(digest[:8], 16) % 20
    return "test" if residue < 2 else "validation" if residue == 2 else "train"


def grouped(names: Sequence[str], files: Sequence[Iterable[Path]]) -> list[str]:
    """For each pair the smallest name among those that share a file, directly or in a chain.

    Args:
        names: of the pairs.
        files: of each pair.
    """
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Path, int] = {}
    for i, own in enumerate(files):
        for file in own:
            low, high = sorted((root(i), root(first.setdefault(file, i))))
            parent[high] = low
    smallest: dict[int, str] = {}
    for i, name in enumerate(names):
        smallest[root(i)] = min(name, smallest.get(root(i), name))
    return [smallest[root(i)] for i in range(len(names))]


def shared_among(splits: Sequence[Iterable[Path]]) -> int:
    """How many files stand in more than one split."""
    counts = Counter(file for files in splits for file in set(files))
    return sum(count > 1 for count in counts.values())


def folders_of_splits(root: Path) -> dict[str, Path]:
    """The sub-folders train, val, ... that are there, in small letters or large, by small names.

    Raises:
        UserError: two that differ in that alone.
    """
    found: dict[str, Path] = {}
    entries = os.scandir(root) if root.is_dir() else ()
    for path in sorted(Path(entry.path) for entry in entries if entry.is_dir()):
        name = path.name.lower()
        if name in SPLIT_OF_FOLDER:
            if name in found:
                raise UserError(f"{found[name]} and {path} have one name: keep one of them")
            found[name] = path
    return found


def split_folders(root: Path) -> dict[str, Path]:
    """Split -> its sub-folder, where one of validation and test is taken for both.

    The same folder three times where neither is there: `split_of` divides its images.
    """
    found = {SPLIT_OF_FOLDER[name]: folder for name, folder in folders_of_splits(root).items()}
    held_out = found.get("validation", found.get("test"))
    if held_out is None:
        return dict.fromkeys(SPLITS, found.get("train", root))
    return {
        "train": found.get("train", root / "train"),
        "validation": held_out,
        "test": found.get("test", held_out),
    }


def split_of(name: str) -> str:
    """The split of an image by its path from the folder, whatever its suffix."""
    return split_by_hash(name.rpartition(".")[0])


def split_images(root: Path, split: str) -> tuple[Path, list[str]]:
    """The folder with the images of a split, and their sorted paths from it.

    Raises:
        UserError: no such split.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    folders = split_folders(root)
    names = image_names(folders[split])
    if folders["train"] == folders["test"]:
        names = [name for name in names if split_of(name) == split]
    return folders[split], names
