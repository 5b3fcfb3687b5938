"""Which files below a folder belong together, and to which split."""

import os
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from rich.markup import escape
from rich.progress import track

from dbim_lightning.data.images import composed, image_dimensions, image_files, listed
from dbim_lightning.data.pair_files import PairFiles, files_of, first_ten
from dbim_lightning.data.paired_tables import table_pairs
from dbim_lightning.data.splits import (
    SPLIT_OF_FOLDER,
    SPLITS,
    folders_of_splits,
    grouped,
    places,
    shared_among,
    split_by_hash,
)
from dbim_lightning.errors import UserError

Layout = Literal["auto", "strips", "folders", "csv"]
KNOWN = (
    "strips (two halves of one image), or two folders with equal names (source/ target/, A/ B/, "
    "trainA/ trainB/, or input/ output/ and the like), or pairs.csv with the columns source,target"
)
PLAIN = ("source", "target"), ("A", "B")
SPEAKING = (
    ("input", "output"),
    ("inputs", "outputs"),
    ("sketch", "photo"),
    ("sketches", "photos"),
    ("edge", "photo"),
    ("edges", "photos"),
    ("low", "high"),
    ("lr", "hr"),
    ("blur", "sharp"),
    ("noisy", "clean"),
)
SIDES = *PLAIN, *SPEAKING  # of which it is known which is the source
FORMS = (  # folders of sources and targets, where * is the name of a split
    *SIDES,
    *((f"*/{source}", f"*/{target}") for source, target in SIDES),
    *((f"{source}/*", f"{target}/*") for source, target in SIDES),
    ("*A", "*B"),
)
UNCLEAR = {"image", "images", "img", "imgs", "label", "labels", "mask", "masks", "gt", "depth"}
UNCLEAR |= {"normals", "annotation", "annotations", "segmentation", "photo", "photos", "map"}
MANY = 20_000


class FoundPairs(NamedTuple):
    """Every pair of a root; `told` says in words what was found."""

    layout: Layout
    splits: dict[str, list[PairFiles]]
    told: str


def find_pairs(root: Path, layout: Layout) -> FoundPairs:
    """Lists the pairs below `root` (or in a .csv file), each split sorted by name.

    Raises:
        UserError: nothing or more than one layout there, what could be two, pairs without partner,
            or equal names.
    """
    if not root.is_dir() and not (root.suffix.lower() == ".csv" and root.is_file()):
        raise UserError(f"dataset.root={root} is no folder and no .csv file: it must hold {KNOWN}")
    table = root / "pairs.csv" if root.is_dir() else root
    if layout == "csv" or (layout == "auto" and table.is_file()):
        return _found("csv", root, f"pairs listed in {table.name}", table_pairs(table))
    forms = {} if layout == "strips" else _folder_forms(root)
    if len(forms) > 1:
        raise UserError(
            f"{root} has {' and also '.join(forms)}: keep one, or list the pairs in CSV"
        )
    if forms:
        ((told, folders),) = forms.items()
        groups = {split: _folder_pairs(*both) for split, both in folders.items()}
        return _found("folders", root, told + _told_beside(root, groups), groups)
    if layout == "folders":
        raise UserError(f"{root} has no two folders of pairs: it must hold {KNOWN}")
    groups = _strips(root)
    if layout == "auto":
        files = [pair.source for pairs in groups.values() for pair in pairs]
        _refuse_two_folders(root, files)
        _refuse_single_images(root, tuple(files))
    told = "strips side by side" + _told_beside(root, groups)
    return _found("strips", root, told, groups)


def _found(layout: Layout, root: Path, told: str, groups: dict[str, list[PairFiles]]) -> FoundPairs:
    """Makes train, validation and test of the groups that have been found."""
    splits: dict[str, list[PairFiles]] = {split: [] for split in SPLITS}
    for group, pairs in groups.items():
        split = SPLIT_OF_FOLDER[group]
        if splits[split]:
            raise UserError(f"{root} has two folders for the {split} split: keep one of them")
        splits[split] = sorted(_with_groups(pairs))
    if not any(splits.values()):
        raise UserError(f"no images in {root}: it must hold {KNOWN}")
    if splits["validation"] or splits["test"]:
        splits["validation"] = splits["validation"] or splits["test"]
        splits["test"] = splits["test"] or splits["validation"]
    else:
        told += ", split by hash of the name"
        unsplit, splits["train"] = splits["train"], []
        for pair in unsplit:
            splits[split_by_hash(pair.group)].append(pair)
    counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in splits.items())
    is_same = splits["validation"] is splits["test"]
    held_out = [splits["validation"]] if is_same else [splits["validation"], splits["test"]]
    files = [files_of(pairs) for pairs in (splits["train"], *held_out)]
    shared = shared_among(files)
    warned = f"; {shared:,} files stand in two splits" if shared else ""
    return FoundPairs(layout, splits, f"{told}, {counts}{' (the same)' if is_same else ''}{warned}")


def _with_groups(pairs: list[PairFiles]) -> list[PairFiles]:
    """The pairs with the smallest group among those that share a file."""
    groups = grouped([pair.group for pair in pairs], [(pair.source, pair.target) for pair in pairs])
    return [pair._replace(group=group) for pair, group in zip(pairs, groups, strict=True)]


def _told_beside(root: Path, groups: dict[str, list[PairFiles]]) -> str:
    """How many images below the root are in no pair, in words."""
    inside = files_of(pair for pairs in groups.values() for pair in pairs)
    every = [root / name for name in listed(root)[0]]
    beside = len(set(places(every)) - set(places(inside)))
    return f", {beside:,} images in other folders left out" if beside else ""


def _strips(root: Path) -> dict[str, list[PairFiles]]:
    folders = folders_of_splits(root)
    return {
        split: [PairFiles(name, path, path, name) for name, path in _by_name(folder).items()]
        for split, folder in (folders or {"train": root}).items()
    }


def _refuse_two_folders(root: Path, files: list[Path]) -> None:
    """Refuses to take the images of two folders, of equal names or with names that speak, for
    strips."""
    names: dict[Path, set[str]] = {}
    for path in files:
        place = path.relative_to(root).with_suffix("")
        for folder in place.parents[:-1]:
            names.setdefault(folder, set()).add(composed(place.relative_to(folder).as_posix()))
    first: dict[tuple[Path, object], Path] = {}
    for folder in sorted(folder for folder in names if folder.name not in SPLIT_OF_FOLDER):
        looks = [frozenset(names[folder]), "unclear"]
        for look in looks if folder.name.lower() in UNCLEAR else looks[:1]:
            other = first.setdefault((folder.parent, look), folder)
            if other != folder:
                raise UserError(
                    f"{root / other} and {root / folder} look like the two sides of pairs: rename "
                    "(or link) that of the sources to source and the other to target, or list the "
                    "pairs in pairs.csv; if each image is a strip of both, dataset.layout=strips"
                )


@cache
def _refuse_single_images(root: Path, files: tuple[Path, ...]) -> None:
    """Refuses to cut single images in halves. Files that cannot be read are left to others."""
    seen: dict[bool, tuple[Path, int, int]] = {}
    for path in track(files, escape(f"Looking at {root}"), disable=len(files) < MANY):
        try:
            width, height = image_dimensions(path)
        except UserError:
            continue
        seen.setdefault(width >= 2 * height, (path, width, height))
    told = {wide: f"{path} is {width}x{height}" for wide, (path, width, height) in seen.items()}
    if len(told) == 2:
        raise UserError(
            f"{root} has strips and single images: {told[True]}, {told[False]}: keep one kind; if "
            "all are strips, some of upright images, dataset.layout=strips"
        )
    if False in told:
        raise UserError(
            f"{root} has images, but no pairs are recognised ({told[False]}, a strip at least "
            f"twice as wide as high): it must hold {KNOWN}; if these are strips of upright "
            "images, dataset.layout=strips"
        )


def _folder_forms(root: Path) -> dict[str, dict[str, tuple[Path, Path]]]:
    """What the folders are called -> split -> its folders of sources and targets."""
    forms: dict[tuple[str, str], dict[str, tuple[Path, Path]]] = {}
    folders = _Folders(root)
    for form in FORMS:
        lonely = []
        for split in SPLIT_OF_FOLDER if "*" in form[0] else ["train"]:
            source, target = (folders.at(side.replace("*", split)) for side in form)
            if source.is_dir() and target.is_dir():
                forms.setdefault(form, {})[split] = source, target
            elif source.is_dir() or target.is_dir():
                lonely.append((source, target) if source.is_dir() else (target, source))
        if lonely and (not _speaks(form) or (form in forms and form[0].endswith("/*"))):
            there, missing = lonely[0]
            raise UserError(f"{there} has no partner {missing}: make it, or remove the other")
    for form, found in forms.items():
        for split, folder in folders_of_splits(root).items() if form[0].startswith("*/") else ():
            if split not in found:
                raise UserError(
                    f"{folder} has no two folders of pairs, as {' and '.join(found)} have: make "
                    "them, or move it elsewhere"
                )
    for source, target in SIDES:
        if (f"{source}/*", f"{target}/*") in forms:
            del forms[source, target]
    return {f"folders {source} and {target}": forms[source, target] for source, target in forms}


def _speaks(form: tuple[str, str]) -> bool:
    """Whether a folder of this name may be there without the other, if no split has both."""
    sides = tuple(side.replace("*", "").strip("/") for side in form)
    return sides in SPEAKING


class _Folders:
    """The folders below a root by their paths, in small letters or large; each is listed once."""

    def __init__(self, root: Path):
        self.root, self._inside = root, {}

    def at(self, place: str) -> Path:
        """A folder, or where it would be."""
        folder = self.root
        for name in place.split("/"):
            inside = self._names(folder)
            alike = [other for other in inside if other.lower() == name.lower() and len(name) > 1]
            folder = folder / (alike[0] if name not in inside and len(alike) == 1 else name)
        return folder

    def _names(self, folder: Path) -> set[str]:
        if folder not in self._inside:
            entries = os.scandir(folder) if folder.is_dir() else ()
            self._inside[folder] = {entry.name for entry in entries if entry.is_dir()}
        return self._inside[folder]


def _folder_pairs(source: Path, target: Path) -> list[PairFiles]:
    sources, targets = _by_name(source), _by_name(target)
    either = sources | targets
    lonely = [either[name] for name in sources.keys() ^ targets.keys()]
    if lonely:
        raise UserError(
            f"{len(lonely)} images have no partner of the same name, in {source} or in {target}: "
            f"add it or remove them: {first_ten(lonely)}"
        )
    return [PairFiles(name, path, targets[name], name) for name, path in sources.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    """The images below a folder by their path from it, without suffix, in one form (NFC)."""
    files: dict[str, Path] = {}
    for path in image_files(folder):
        name = composed(path.relative_to(folder).with_suffix("").as_posix())
        if name in files:
            raise UserError(f"{files[name]} and {path} have one name: rename or remove one of them")
        files[name] = path
    return files
