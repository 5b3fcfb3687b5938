"""Result rows as files: the form of results.json, read and found again.

A row, as results.json holds it:
    format: of the file, 2.
    protocol, sampler, nfe, seed, num_images, origin: what was asked. `sampler` is the class with
        all its settings, or the path of given samples; `origin` says which bridge, data, precision
        and libraries. Two jobs are the same if all of these are.
    metrics: number by key, null where it is not finite. columns: how each is shown.
    cost: nfe_counted, seconds, seconds_per_image (of sampling), peak_memory_gb (of the accelerator,
        or of the process since it began, so that in a sweep it never falls).
    baselines: metrics of bare sources and of training targets.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json

Row = dict[str, Any]
FORMAT = 2
FILE = "results.json"
NODES = ("metrics", "columns", "cost", "baselines", "protocol", "origin")
ASKED = ("sampler", "protocol", "nfe", "seed", "num_images", "origin")


def plain(value: Any) -> Any:
    """In JSON's types; a whole number is one, so that eta=0 and eta=0.0 are the same.

    JSON has no infinities and NaN, which become text.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value if math.isfinite(value) else str(value)
    return value


def flat_row(row: Row) -> Row:
    """All but the columns, by dotted key."""
    return dict(flat({key: value for key, value in row.items() if key != "columns"}))


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs such as ("baselines.source.mse", 0.147) of what is nested."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def read_row(path: Path) -> Row:
    """A results.json, where NaN and infinities of earlier versions are None.

    Raises:
        UserError: one that is not JSON, or of an earlier version.
    """
    row = read_json(path, "evaluate this job again")
    if row.get("format") != FORMAT:
        raise UserError(
            f"{path} is no result row of format {FORMAT}, but of an earlier version or another "
            "program: evaluate this job again, or move it elsewhere"
        )
    missing = {*ASKED, *NODES} - row.keys()
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: evaluate this job again")
    if odd := [key for key in NODES if not isinstance(row[key], dict)]:
        raise UserError(f"{path}: {odd[0]} is no object: evaluate this job again")
    return row


def same_job(sweep: Path, asked: Row) -> Path | None:
    """The folder of a job in a sweep that was asked the same since the sweep began, or None.

    Args:
        sweep: folder of the sweep, where Hydra writes multirun.yaml when it begins.
        asked: that half of a row.
    """
    began = sweep / "multirun.yaml"
    if not began.exists():
        return None
    for path in sweep.rglob(FILE):
        if path.stat().st_mtime_ns >= began.stat().st_mtime_ns:
            found = read_row(path)
            if {key: found[key] for key in ASKED} == asked:
                return path.parent
    return None


def require_free(folder: Path, asked: Row) -> None:
    """Refuses a folder that holds the results of another job than is asked for."""
    path = folder / FILE
    if path.exists() and {key: read_row(path)[key] for key in ASKED} != asked:
        raise UserError(
            f"{path} is of another job: choose another folder with hydra.run.dir=DIR, or for a "
            "sweep with hydra.sweep.dir=DIR"
        )
