"""Which file of a folder belongs to which pair: by name, by the last part of it, or by number."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.progress import track
from torch.utils.data import Dataset

from dbim_lightning.data.images import image_names
from dbim_lightning.errors import UserError

Files = list[tuple[str, Path]]
"""Name from the folder, without suffix, and path of each file."""


class Match(NamedTuple):
    """What each pair's file should be called, and the files by what they are called."""

    keys: list[str]
    files: dict[str, Path]

    def num_found(self) -> int:
        return len(self.files.keys() & set(self.keys))


def matched(folder: Path, data: Dataset) -> list[Path]:
    """The file of each position: matched by name or its last part, whichever fits more files, or
    by number where no name fits.

    Raises:
        UserError: pairs without file, files without pair, or two files of one name or number.
    """
    files = [(name.rpartition(".")[0], folder / name) for name in image_names(folder)]
    pairs = [data[i] for i in track(range(len(data)), "Reading the names of the pairs")]
    names = [pair["name"] for pair in pairs]
    match = max(by_name(names, files), by_last_part(names, files), key=Match.num_found)
    if match.num_found() == 0 and all(stem.isdecimal() for stem, _ in files):
        match = by_number([pair["index"] for pair in pairs], files)
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


def by_name(names: list[str], files: Files) -> Match:
    """Each file is called like its pair, sub-folders included."""
    return Match(names, _unique(files))


def by_last_part(names: list[str], files: Files) -> Match:
    """Each file is called like the last part of its pair's name; nothing, if two pairs share it."""
    last = [name.rpartition("/")[2] for name in names]
    return Match(last if len(set(last)) == len(last) else [], _unique(files))


def by_number(indices: Iterable[int], files: Files) -> Match:
    """Each file is called by the index of its pair in the data set, with zeros before it or not."""
    numbered = [(str(int(stem)), path) for stem, path in files]
    return Match([str(index) for index in indices], _unique(numbered))


def _unique(files: Files) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for key, path in files:
        if key in found:
            raise UserError(f"{found[key]} and {path} have one name: remove one of them")
        found[key] = path
    return found


def _first_ten(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
