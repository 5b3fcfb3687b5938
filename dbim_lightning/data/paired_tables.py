"""Pairs that a table lists."""

import csv
import os
from pathlib import Path

from dbim_lightning.data.images import composed
from dbim_lightning.data.pair_files import PairFiles, first_ten
from dbim_lightning.data.splits import SPLIT_OF_FOLDER
from dbim_lightning.errors import UserError
from dbim_lightning.files import tell_once

OPTIONAL = ("split", "name")


def table_pairs(table: Path) -> dict[str, list[PairFiles]]:
    """Reads a CSV with the columns source, target and optionally split and name."""
    rows = _rows(table)
    disk = _Disk()
    both = [[disk.at(table.parent / row[side]) for side in ("source", "target")] for row in rows]
    missing = [path for files in both for path in files if not path.is_file()]
    if missing:
        raise UserError(
            f"{table} lists {len(missing)} files that are not there (paths are relative to "
            f"{table.parent}): {first_ten(missing)}"
        )
    stems = _lasting_names([source for source, _ in both], table.parent)
    groups: dict[str, dict[str, PairFiles]] = {}
    for row, files, stem in zip(rows, both, stems, strict=True):
        split = row.get("split", "train")
        if split not in SPLIT_OF_FOLDER:
            raise UserError(f"{table} has the split {split!r}: use {', '.join(SPLIT_OF_FOLDER)}")
        name = row.get("name") or Path(row["source"]).with_suffix("").as_posix()
        pairs = groups.setdefault(SPLIT_OF_FOLDER[split], {})
        if name in pairs:
            raise UserError(f"{table} has two pairs {name}: tell them apart in a column name")
        pairs[name] = PairFiles(name, *files, stem)
    return {split: list(pairs.values()) for split, pairs in groups.items()}


class _Disk:
    """Paths as the disk spells them, where others have other code points for the same letters."""

    def __init__(self):
        self._inside: dict[Path, dict[str, Path]] = {}

    def at(self, path: Path) -> Path:
        """The path on disk, or where it would be."""
        if path.exists() or path.parent == path:
            return path
        folder = self.at(path.parent)
        if folder not in self._inside:
            entries = folder.iterdir() if folder.is_dir() else ()
            self._inside[folder] = {composed(entry.name): entry for entry in entries}
        return self._inside[folder].get(composed(path.name), folder / path.name)


def _lasting_names(files: list[Path], folder: Path) -> list[str]:
    """Where files are, without suffix, as it stays when all are moved: from the folder, if all are
    below it, by their names or links followed, else from the deepest folder that they share."""
    for spelled in (_normal, os.path.realpath):
        paths, base = [Path(spelled(path)) for path in files], Path(spelled(folder))
        if all(path.is_relative_to(base) for path in paths):
            break
    else:
        base = Path(os.path.commonpath([path.parent for path in paths]))
    return [composed(path.relative_to(base).with_suffix("").as_posix()) for path in paths]


def _normal(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {table} ({error}): save it as CSV in UTF-8") from error
    if not {"source", "target"} <= set(columns):
        raise UserError(
            f"{table} has the columns {', '.join(columns) or '(none)'}: its first line must be "
            "source,target and optionally split,name"
        )
    if unused := [name for name in columns if name not in ("source", "target", *OPTIONAL)]:
        tell_once(f"{table}: columns that are not used: {', '.join(unused)}")
    for number, row in enumerate(rows, start=1):
        if not row["source"] or not row["target"]:
            raise UserError(f"{table} has no source or no target in row {number}: fill it in")
    return rows
