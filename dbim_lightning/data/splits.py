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


def grouped(names: Sequence[str], files: Sequence[Sequence[Path]]) -> list[str]:
    """For each pair the smallest name among those that share a file, directly or in a chain.

    Args:
        names: of the pairs.
        files: of each pair; links to one file are that file.
    """
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    owners = [i for i, own in enumerate(files) for _ in own]
    for i, place in zip(owners, places(file for own in files for file in own), strict=True):
        low, high = sorted((root(i), root(first.setdefault(place, i))))
        parent[high] = low
    smallest: dict[int, str] = {}
    for i, name in enumerate(names):
        smallest[root(i)] = min(name, smallest.get(root(i), name))
    return [smallest[root(i)] for i in range(len(names))]


def shared_among(splits: Sequence[Iterable[Path]]) -> int:
    """How many files stand in more than one split, by themselves or as links."""
    counts = Counter(place for files in splits for place in set(places(files)))
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


def places(files: Iterable[Path]) -> list[str]:
    """Where files are, links followed; each folder is looked up once."""
    folders: dict[Path, str] = {}
    found = []
    for file in files:
        if file.is_symlink():
            found.append(os.path.realpath(file))
            continue
        if file.parent not in folders:
            folders[file.parent] = os.path.realpath(file.parent)
        found.append(f"{folders[file.parent]}/{file.name}")
    return found


def split_folders(root: Path) -> dict[str, Path]:
    """Split -> its sub-folder, where one of validation and test is taken for both.

    The same folder three times where neither is there: hashes divide its images.
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


def split_images(root: Path, split: str) -> tuple[Path, list[str]]:
    """The folder with the images of a split, and their sorted paths from it.

    A hash of the path without suffix divides a folder without splits; links to one file stay
    together.

    Raises:
        UserError: no such split.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    folders = split_folders(root)
    names = image_names(folders[split])
    if folders["train"] == folders["test"]:
        groups = image_groups(folders[split], names)
        pairs = zip(names, groups, strict=True)
        names = [name for name, group in pairs if split_by_hash(group) == split]
    return folders[split], names


def image_groups(folder: Path, names: Sequence[str]) -> list[str]:
    """For each image the smallest name, without suffix, among the links to its file."""
    stems = [composed(name.rpartition(".")[0]) for name in names]
    return grouped(stems, [[folder / name] for name in names])
