"""Which files below a folder belong together, and to which split."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from dbim_lightning.data.images import image_dimensions, image_files
from dbim_lightning.data.splits import SPLIT_OF_FOLDER, SPLITS, split_by_hash
from dbim_lightning.errors import UserError

Layout = Literal["auto", "strips", "folders", "csv"]
KNOWN = (
    "strips (two halves of one image), or two folders with equal names (source/ target/, A/ B/ or "
    "trainA/ trainB/), or pairs.csv with the columns source,target"
)
FORMS = (  # folders of sources and targets, where * is the name of a split
    ("source", "target"),
    ("A", "B"),
    ("*/source", "*/target"),
    ("*/A", "*/B"),
    ("source/*", "target/*"),
    ("A/*", "B/*"),
    ("*A", "*B"),
)


class PairFiles(NamedTuple):
    """One pair on disk; a strip is both source and target."""

    name: str
    source: Path
    target: Path


class FoundPairs(NamedTuple):
    """Every pair of a root; `told` says in words what was found."""

    layout: Layout
    splits: dict[str, list[PairFiles]]
    told: str


def find_pairs(root: Path, layout: Layout) -> FoundPairs:
    """Lists the pairs below `root` (or in a .csv file), each split sorted by name.

    Raises:
        UserError: nothing or more than one layout there, pairs without partner, or equal names.
    """
    if not root.is_dir() and not (root.suffix == ".csv" and root.is_file()):
        raise UserError(f"dataset.root={root} is no folder and no .csv file: it must hold {KNOWN}")
    table = root / "pairs.csv" if root.is_dir() else root
    if layout == "csv" or (layout == "auto" and table.is_file()):
        return _found("csv", root, f"pairs listed in {table.name}", _table_pairs(table))
    forms = {} if layout == "strips" else _folder_forms(root)
    if len(forms) > 1:
        raise UserError(
            f"{root} has {' and also '.join(forms)}: keep one, or list the pairs in CSV"
        )
    if forms:
        ((told, folders),) = forms.items()
        groups = {split: _folder_pairs(*both) for split, both in folders.items()}
        return _found("folders", root, told, groups)
    if layout == "folders":
        raise UserError(f"{root} has no two folders of pairs: it must hold {KNOWN}")
    found = _found("strips", root, "strips side by side", _strips(root))
    if layout == "auto":
        _check_look_of_strips(root, found)
    return found


def _found(layout: Layout, root: Path, told: str, groups: dict[str, list[PairFiles]]) -> FoundPairs:
    """Makes train, validation and test of the groups that have been found."""
    splits: dict[str, list[PairFiles]] = {split: [] for split in SPLITS}
    for group, pairs in groups.items():
        split = SPLIT_OF_FOLDER[group]
        if splits[split]:
            raise UserError(f"{root} has two folders for the {split} split: keep one of them")
        splits[split] = sorted(pairs)
    if not any(splits.values()):
        raise UserError(f"no images in {root}: it must hold {KNOWN}")
    if splits["validation"] or splits["test"]:
        splits["validation"] = splits["validation"] or splits["test"]
        splits["test"] = splits["test"] or splits["validation"]
    else:
        told += ", split by hash of the name"
        unsplit, splits["train"] = splits["train"], []
        for pair in unsplit:
            splits[split_by_hash(pair.name)].append(pair)
    counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in splits.items())
    shared = " (the same)" if splits["validation"] is splits["test"] else ""
    return FoundPairs(layout, splits, f"{told}, {counts}{shared}")


def _strips(root: Path) -> dict[str, list[PairFiles]]:
    folders = {split: root / split for split in SPLIT_OF_FOLDER if (root / split).is_dir()}
    return {
        split: [PairFiles(name, path, path) for name, path in _by_name(folder).items()]
        for split, folder in (folders or {"train": root}).items()
    }


def _check_look_of_strips(root: Path, found: FoundPairs) -> None:
    """Refuses to cut single images in halves."""
    first = next(pairs[0] for pairs in found.splits.values() if pairs)
    width, height = image_dimensions(first.source)
    if width < 2 * height:
        raise UserError(
            f"{root} has images, but no pairs are recognised ({first.source.name} is {width}x"
            f"{height}, a strip at least twice as wide as high): it must hold {KNOWN}; if these "
            "are strips of upright images, dataset.layout=strips"
        )


def _folder_forms(root: Path) -> dict[str, dict[str, tuple[Path, Path]]]:
    """What the folders are called -> split -> its folders of sources and targets."""
    forms = {}
    for form in FORMS:
        for split in SPLIT_OF_FOLDER if "*" in form[0] else ["train"]:
            source, target = (root / side.replace("*", split) for side in form)
            if source.is_dir() and target.is_dir():
                forms.setdefault(form, {})[split] = source, target
            elif source.is_dir() or target.is_dir():
                there, missing = (source, target) if source.is_dir() else (target, source)
                raise UserError(f"{there} has no partner {missing}: make it, or remove the other")
    for side in ("source", "target"), ("A", "B"):
        if (f"{side[0]}/*", f"{side[1]}/*") in forms:
            del forms[side]
    return {f"folders {source} and {target}": forms[source, target] for source, target in forms}


def _folder_pairs(source: Path, target: Path) -> list[PairFiles]:
    sources, targets = _by_name(source), _by_name(target)
    either = sources | targets
    lonely = [either[name] for name in sources.keys() ^ targets.keys()]
    if lonely:
        raise UserError(
            f"{len(lonely)} images have no partner of the same name, in {source} or in {target}: "
            f"add it or remove them: {_first_ten(lonely)}"
        )
    return [PairFiles(name, path, targets[name]) for name, path in sources.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    """The images below a folder by their path from it, without suffix."""
    files: dict[str, Path] = {}
    for path in image_files(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise UserError(f"{files[name]} and {path} have one name: rename or remove one of them")
        files[name] = path
    return files


def _table_pairs(table: Path) -> dict[str, list[PairFiles]]:
    """Reads a CSV with the columns source, target and optionally split and name."""
    groups: dict[str, dict[str, PairFiles]] = {}
    rows = _rows(table)
    paths = [table.parent / row[side] for row in rows for side in ("source", "target")]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} files that are not there (paths are relative to "
            f"{table.parent}): {_first_ten(missing)}"
        )
    for row in rows:
        split = row.get("split", "train")
        if split not in SPLIT_OF_FOLDER:
            raise UserError(f"{table} has the split {split!r}: use {', '.join(SPLIT_OF_FOLDER)}")
        name = row.get("name") or Path(row["source"]).with_suffix("").as_posix()
        pairs = groups.setdefault(SPLIT_OF_FOLDER[split], {})
        if name in pairs:
            raise UserError(f"{table} has two pairs {name}: tell them apart in a column name")
        pairs[name] = PairFiles(name, table.parent / row["source"], table.parent / row["target"])
    return {split: list(pairs.values()) for split, pairs in groups.items()}


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {table} ({error}): save it as CSV in UTF-8") from error
    if not {"source", "target"} <= set(columns):
        raise UserError(
            f"{table} has the columns {', '.join(columns) or '(none)'}: its first line must be "
            "source,target and optionally split,name"
        )
    for number, row in enumerate(rows, start=1):
        if not row["source"] or not row["target"]:
            raise UserError(f"{table} has no source or no target in row {number}: fill it in")
    return rows


def _first_ten(paths: Iterable[Path]) -> str:
    first = sorted(map(str, paths))[:11]
    return ", ".join(first[:10]) + (", ..." if len(first) > 10 else "")
