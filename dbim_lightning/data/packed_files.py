"""What the files of packed pairs hold, which may come from another person."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json
from dbim_lightning.strangers import require_plain

IMAGES, MASKS, CONTENTS, JOURNAL = "images.u8", "masks.u8", "pairs.json", "journal.jsonl"
ORIGIN = "made_from.json"


def read_contents(folder: Path) -> dict[str, Any]:
    """pairs.json, whose values are of the types that `pack` writes."""
    remedy = f"delete {folder} and make it again"
    contents = read_json(folder / CONTENTS, remedy)
    names, labels = contents.get("names"), contents.get("labels", "missing")
    size, hole = contents.get("image_size"), contents.get("hole", "missing")
    is_whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    is_whole &= type(size) is int and 0 < size < 1 << 16
    is_whole &= hole is None or type(hole) in (int, float)
    if labels is not None:
        is_whole = is_whole and isinstance(labels, list) and len(labels) == len(names)
        is_whole = is_whole and all(type(label) is int for label in labels)
    if not (is_whole and {"format", "left_out"} <= contents.keys()):
        raise UserError(f"{folder / CONTENTS} lacks a key or has one of another type: {remedy}")
    return contents


def read_origin(folder: Path) -> dict[str, Any]:
    """made_from.json, which is plain; what it names is never made."""
    remedy = f"delete {folder} and make it again"
    made_from = read_json(folder / ORIGIN, remedy)
    require_plain(made_from.get("options"), folder / ORIGIN)
    if not all(isinstance(made_from.get(key), dict) for key in ("options", "files")):
        raise UserError(f"{folder / ORIGIN} lacks options or files: {remedy}")
    return {"pairs": None, **made_from}


def read_records(
    journal: Path, lines: Sequence[bytes]
) -> tuple[list[dict], list[dict], dict[str, int]]:
    """The records in a journal, those of pairs that were kept, and what one takes in each file.

    Raises:
        UserError: a line that is no record.
    """
    try:
        records = [json.loads(line) for line in lines]
        kept = [record for record in records if "left_out" not in record]
        sizes = [_sizes_of(record) for record in kept]
        return records, kept, sizes[0] if kept else {}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{journal} is not whole ({error}): delete {journal.parent}") from error


def _sizes_of(record: dict) -> dict[str, int]:
    name, _ = record["name"], record["label"]
    size, hole = record["image_size"], record["hole"]
    if type(name) is not str or type(size) is not int or not 0 < size < 1 << 16:
        raise ValueError(f"name={name!r:.99}, image_size={size!r:.99}")
    return sizes_of(size, hole)


def sizes_of(image_size: int, hole: float | None) -> dict[str, int]:
    """Bytes of a pair in each file."""
    mask = 0 if hole is None else math.ceil(image_size**2 / 8)
    return {IMAGES: 6 * image_size**2, MASKS: mask}
