"""The `results.json` of many jobs as rows: what was asked, what came out, what to call them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.kinds import is_metric, kind_of, metrics_of

Row = dict[str, Any]
REFERENCES = {"source": "source", "train_targets": "training targets"}
_OUTCOMES = {
    *("spread", "nfe_counted", "seconds", "images_per_second", "peak_memory_gb", "references"),
    *("versions", "checkpoint_sha256"),
}
_OF_ANY_SAMPLER = {"metrics", "split", "seed", "checkpoint", "num_images"}


def describe(sampler: Mapping[str, Any]) -> Row:
    """A sampler's identity as a row states it: its class, its settings, each part in a line.

    Classes of this project go by their short names in small letters, others by their whole names.
    """

    def name(target: str) -> str:
        ours = target.startswith("dbim_lightning.")
        return target.rpartition(".")[2].lower() if ours else target

    settings = {
        key: in_words(value, name(value["_target_"])) if isinstance(value, Mapping) else value
        for key, value in sampler.items()
        if key != "_target_"
    }
    return {"sampler": name(sampler["_target_"]), **settings}


def in_words(config: Mapping[str, Any], name: str | None = None) -> str:
    """A configuration in a line: its name, or else its class, and the options that are set."""
    given = {key: value for key, value in config.items() if value is not None}
    name = name or given["_target_"].rpartition(".")[2]
    options = [f"{key}={value}" for key, value in given.items() if not key.startswith("_")]
    return " ".join([name, *options])


def jobs(folder: str | Path) -> dict[Path, Row]:
    """Every folder with a `results.json`, at any depth, sorted by settings, then by NFE.

    Of jobs with the same settings and NFE, only the newest.

    Raises:
        UserError: if there is none, or one is not a result row.
    """
    paths = sorted(Path(folder).rglob("results.json"), key=lambda path: path.stat().st_mtime_ns)
    rows = {path.parent: _read(path) for path in paths}
    if not rows:
        raise UserError(f"no results.json under {folder}: name the folder of an evaluation")
    names = (*settings(list(rows.values())), "nfe")
    newest = {tuple(text(row.get(name)) for name in names): job for job, row in rows.items()}

    def order(job: Path) -> list[tuple[int, float, str]]:
        return [_sortable(rows[job].get(name)) for name in names]

    return {job: rows[job] for job in sorted(newest.values(), key=order)}


def collect(folder: str | Path) -> list[Row]:
    """The rows of all `jobs` in a folder."""
    return list(jobs(folder).values())


def labels(folder: str | Path) -> dict[Path, str]:
    """What to call each of the `jobs` in a folder: the settings that vary, and below them NFE."""
    found = jobs(folder)
    rows = shown(list(found.values()))
    names = varying(rows)
    settings = [f"{label(row, names)}, " if names else "" for row in rows]
    lines = [f"{start}NFE {row['nfe']}" for start, row in zip(settings, rows, strict=True)]
    return dict(zip(found, [line.replace(", ", "\n") for line in lines], strict=True))


def shown(rows: list[Row]) -> list[Row]:
    """The rows with their checkpoints named by the part of the path that differs."""
    split = {row["checkpoint"]: row["checkpoint"].split("/") for row in rows if "checkpoint" in row}
    if len(split) < 2:
        return rows
    start = min(_num_shared(split.values()), min(map(len, split.values())) - 1)
    end = _num_shared(parts[:start:-1] for parts in split.values())
    short = {path: "/".join(parts[start : len(parts) - end]) for path, parts in split.items()}
    return [row | {"checkpoint": short.get(row.get("checkpoint"))} for row in rows]


def over_seeds(rows: list[Row]) -> list[Row]:
    """Jobs that differ by their seed alone as one row: means, and deviations under "spread"."""
    names = [name for name in (*settings(rows), "nfe", "checkpoint_sha256") if name != "seed"]
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(text(row.get(name)) for name in names), []).append(row)
    return [_averaged(group) if len(group) > 1 else group[0] for group in groups.values()]


def _averaged(rows: list[Row]) -> Row:
    values = {
        name: [row[name] for row in rows]
        for name in metrics_of(rows)
        if all(row.get(name) is not None for row in rows)
    }
    row = {name: value for name, value in rows[0].items() if not is_metric(name)}
    row |= {name: fmean(found) for name, found in values.items()}
    row["spread"] = {
        name: stdev(found) if all(map(math.isfinite, found)) else math.nan
        for name, found in values.items()
    }
    return row | {"seed": ", ".join(text(row.get("seed")) for row in rows)}


def _num_shared(paths: Iterable[list[str]]) -> int:
    """How many parts all paths begin with."""
    return len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))))


def _read(path: Path) -> Row:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}): evaluate this job again") from error
    if not isinstance(row, dict) or not {"sampler", "nfe"} <= row.keys():
        raise UserError(f"{path} lacks sampler or nfe: evaluate this job again")
    return row


def settings(rows: list[Row]) -> list[str]:
    """What a job was asked to do, NFE apart: all keys but the outcomes, the usual ones first."""
    keys = dict.fromkeys(["sampler", "order", "eta", *(key for row in rows for key in row)])
    return [key for key in keys if key not in {*_OUTCOMES, "nfe"} and not is_metric(key)]


def varying(rows: list[Row]) -> list[str]:
    """The settings that tell the jobs apart; those of a sampler vary among its own jobs."""

    def values(name: str) -> set[tuple[str, str]]:
        apart = name != "sampler" and name not in _OF_ANY_SAMPLER
        return {(row["sampler"] if apart else "", text(row.get(name))) for row in rows}

    return [
        name
        for name in settings(rows)
        if len(found := values(name)) > len({sampler for sampler, _ in found})
    ]


def calls(row: Row) -> int:
    """The NFE that was made, which may not be the one asked for."""
    return row.get("nfe_counted", row["nfe"])


def label(row: Row, names: list[str]) -> str:
    """What sets a line of the plot apart, such as "dbim, eta 0"."""
    parts = [
        text(row[name]) if name == "sampler" else f"{name} {text(row[name])}"
        for name in names
        if row.get(name) is not None
    ]
    return ", ".join(parts) or str(row["sampler"])


def text(value: Any) -> str:
    """A setting as the table shows it."""
    if value is None:
        return "–"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.10g}" if is_number else str(value)


def metric_cells(values: Row, names: list[str]) -> tuple[str, ...]:
    """Metrics as the table shows them, with the deviation over seeds where there are several."""
    return tuple(_metric_cell(values, name) for name in names)


def _metric_cell(values: Row, name: str) -> str:
    metric = kind_of(name)
    if values.get(name) is None:
        return "–"
    cell = f"{values[name] * metric.scale:.{metric.digits}f}"
    deviation = values.get("spread", {}).get(name)
    return cell if deviation is None else f"{cell} ± {deviation * metric.scale:.{metric.digits}f}"


def references(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """The references that the jobs state, each once: (title, metrics), equal if shown as equal."""
    seen, metrics = set(), metrics_of(rows)
    for key, title in REFERENCES.items():
        for row in rows:
            values = row.get("references", {}).get(key)
            if values and (line := (key, metric_cells(values, metrics))) not in seen:
                seen.add(line)
                yield title, values


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, str(value))
