"""Which file of a folder belongs to which pair: by name, by the last part of it, or by number."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import track
from torch.utils.data import Dataset

from dbim_lightning.data.images import composed, image_names
from dbim_lightning.errors import UserError

Files = list[tuple[str, Path]]
"""Name from the folder, without suffix, and path of each file."""


class Match(NamedTuple):
    """What each pair's file should be called, and the files by what they are called."""

    keys: list[str]
    files: dict[str, Path]

    def num_found(self) -> int:
        return len(self.files.keys() & set(self.keys))

    def fits(self) -> bool:
        """Whether each pair has one file, and each file one pair."""
        return len(self.keys) == self.num_found() == len(self.files)


def matched(folder: Path, data: Dataset) -> list[Path]:
    """The file of each position: matched by name or its last part, whichever fits more files; else
    by the numbers in both names; else, where no name fits, by number and index in the data set.

    Raises:
        UserError: pairs without file, files without pair, or two of one name or number.
    """
    files = [(composed(name).rpartition(".")[0], folder / name) for name in image_names(folder)]
    pairs = [data[i] for i in track(range(len(data)), "Reading the names of the pairs")]
    names = [composed(pair["name"]) for pair in pairs]
    match = max(by_name(names, files), by_last_part(names, files), key=Match.num_found)
    if not match.fits() and varying_numbers([stem for stem, _ in files]):
        own = by_number(varying_numbers(names), files)
        index = by_number([pair["index"] for pair in pairs], files)
        if own.fits():
            if index.fits() and own.keys != index.keys:
                print(f"{folder}: numbers are those in the names of the pairs, not their indices")
            match = own
        elif match.num_found() == 0:
            if not index.fits():
                raise UserError(_neither(folder, own, index))
            match = index
    shared = [name for name, count in Counter(match.keys).items() if count > 1]
    if shared:
        raise UserError(
            f"several pairs are called {_first_ten(shared)}, so that no file is known to be "
            "theirs: give each pair a name of its own, or number the files by index"
        )
    missing = [name for name, key in zip(names, match.keys, strict=True) if key not in match.files]
    if missing:
        raise UserError(
            f"{folder} lacks the samples of {len(missing)} of {len(names)} pairs "
            f"({_first_ten(missing)}): name each file as its pair, or lower num_images"
        )
    unused = sorted(match.files.keys() - set(match.keys))
    surplus = [str(match.files[key].relative_to(folder)) for key in unused]
    if surplus:
        raise UserError(
            f"{folder} has {len(surplus)} images that belong to no pair ({_first_ten(surplus)}): "
            "remove them, or choose split and num_images to fit"
        )
    return [match.files[key] for key in match.keys]


def _neither(folder: Path, own: Match, index: Match) -> str:
    """Why neither of two readings of the numbers fits."""
    parts = [f"the indices of the pairs ({_range(index.keys)})"]
    if own.keys:
        parts.insert(0, f"the numbers in the names of the pairs ({_range(own.keys)})")
    return (
        f"{folder} has {len(index.files)} images for {len(index.keys)} pairs, and their numbers "
        f"({_range(index.files)}) are not {', nor '.join(parts)}: name each file as its pair, or "
        "choose split and num_images to fit"
    )


def _range(numbers: Iterable[str]) -> str:
    found = sorted(map(int, numbers))
    return f"{found[0]} to {found[-1]}"


def by_name(names: list[str], files: Files) -> Match:
    """Each file is called like its pair, sub-folders included."""
    return Match(names, _unique(files))


def by_last_part(names: list[str], files: Files) -> Match:
    """Each file is called like the last part of its pair's name; nothing, if two pairs share it."""
    last = [name.rpartition("/")[2] for name in names]
    return Match(last if len(set(last)) == len(last) else [], _unique(files))


def by_number(numbers: Iterable[int], files: Files) -> Match:
    """Each file has the number of its pair in its name, with zeros before it or not."""
    found = varying_numbers([stem for stem, _ in files])
    numbered = [(str(number), path) for number, (_, path) in zip(found, files, strict=True)]
    return Match([str(number) for number in numbers], _unique(numbered))


def varying_numbers(names: Sequence[str]) -> list[int]:
    """The number of each name, such as 7 of img_007.x, where all are alike but for that; or []."""
    parts = [re.split("([0-9]+)", name) for name in names]
    if len({len(some) for some in parts}) != 1:
        return []
    varying = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    is_one_number = len(varying) == 1 and varying[0] % 2 == 1
    return [int(some[varying[0]]) for some in parts] if is_one_number else []


def _unique(files: Files) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for key, path in files:
        if key in found:
            raise UserError(f"{found[key]} and {path} have one name: remove one of them")
        found[key] = path
    return found


def _first_ten(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
