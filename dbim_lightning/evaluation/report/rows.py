"""The result rows of many jobs: what tells them apart, and what to call them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics.metric import Column
from dbim_lightning.evaluation.report.results import ASKED, FILE, Row, flat, plain, read_row
from dbim_lightning.files import finite, printable

SECONDS = Column("s / image", 4, "↓", plotted=False)


@dataclass(frozen=True)
class Job:
    """A row for tables and plots.

    asked: the first half of the row as text: the same for the same job alone.
    settings: what was asked, NFE apart, by dotted key: "sampler", "sampler.eta", "protocol.split".
    nfe: that was asked for.
    calls: of the network, as counted.
    numbers: metrics and seconds per image, by key, those that are finite; columns: how all are
        shown.
    spread: standard deviations of numbers, where this stands for several seeds.
    """

    asked: str
    settings: dict[str, Any]
    nfe: int
    calls: int
    numbers: dict[str, float]
    columns: dict[str, Column]
    baselines: dict[str, dict[str, float]]
    spread: dict[str, float] = field(default_factory=dict)


def job_of(row: Row) -> Job:
    asked = {key: row[key] for key in ASKED}
    settings = dict(_settings({key: row[key] for key in ASKED if key != "nfe"}))
    numbers, columns = dict(row["metrics"]), dict(row["columns"])
    columns = {key: Column(**column) for key, column in columns.items() if key in numbers}
    if "seconds_per_image" in row["cost"]:
        numbers["seconds_per_image"] = row["cost"]["seconds_per_image"]
        columns["seconds_per_image"] = SECONDS
    calls = row["cost"].get("nfe_counted") or row["nfe"]
    baselines = {title: _known(numbers) for title, numbers in row["baselines"].items()}
    identity = json.dumps(plain(asked), sort_keys=True)
    return Job(identity, settings, row["nfe"], calls, _known(numbers), columns, baselines)


def _known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in finite(numbers).items() if value is not None}


def _settings(asked: Row) -> Iterator[tuple[str, Any]]:
    """A part goes by its class: in small letters if that is one of this project, else in full."""
    for key, value in flat(asked):
        parent, _, last = key.rpartition(".")
        if last == "_target_":
            ours = value.startswith("dbim_lightning.")
            yield parent, value.rpartition(".")[2].lower() if ours else value
        elif not last.startswith("_"):
            yield key, value


def find_jobs(folder: str | Path) -> dict[Path, Job]:
    """Every folder with a `results.json`, at any depth, sorted by settings, then by NFE.

    Of the same job done again, only the newest.

    Raises:
        UserError: if there is none, or one is not a result row.
    """
    paths = sorted(Path(folder).rglob(FILE), key=lambda path: path.stat().st_mtime_ns)
    found = {path.parent: _job_in(path) for path in paths}
    if not found:
        raise UserError(f"no {FILE} under {folder}: name the folder of an evaluation")
    keys = _keys(found.values())
    newest = {job.asked: path for path, job in found.items()}

    def order(path: Path) -> tuple:
        job = found[path]
        return *(_sortable(job.settings.get(key)) for key in keys), job.nfe

    return {path: found[path] for path in sorted(newest.values(), key=order)}


def _job_in(path: Path) -> Job:
    row = read_row(path)
    try:
        job = job_of(row)
        known = [job.nfe, job.calls, *job.numbers.values()]
        known += [value for numbers in job.baselines.values() for value in numbers.values()]
        if odd := [value for value in known if type(value) not in (int, float)]:
            raise TypeError(f"{odd[0]!r:.99} is no number")
        return job
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} has odd values ({error}): evaluate this job again") from error


def labels(found: Mapping[Path, Job]) -> dict[Path, str]:
    """What to call each job in a picture: the settings that vary, and NFE, one below the other."""
    jobs = shown(list(found.values()))
    keys = varying(jobs)
    names = [[*label_parts(job, keys), f"NFE {job.nfe}"] for job in jobs]
    return dict(zip(found, ["\n".join(parts) for parts in names], strict=True))


def shown(jobs: list[Job]) -> list[Job]:
    """The jobs with their checkpoints named by the part of the path that differs, and by their
    hash where a path has had several."""
    path, digest = "origin.checkpoint", "origin.checkpoint_sha256"
    hashes: dict[str, set[str]] = {}
    for job in jobs:
        if path in job.settings:
            hashes.setdefault(job.settings[path], set()).add(job.settings[digest])
    short = _shortened(list(hashes))
    result = []
    for job in jobs:
        settings = {key: value for key, value in job.settings.items() if key != digest}
        if path in settings:
            several = len(hashes[settings[path]]) > 1
            settings[path] = short[settings[path]] + f" ({job.settings[digest]})" * several
        result.append(replace(job, settings=settings))
    return result


def _shortened(paths: list[str]) -> dict[str, str]:
    split = {path: path.split("/") for path in paths}
    if len(split) < 2:
        return {path: path for path in paths}
    start = min(_num_shared(split.values()), min(map(len, split.values())) - 1)
    end = _num_shared(parts[:start:-1] for parts in split.values())
    return {path: "/".join(parts[start : len(parts) - end]) for path, parts in split.items()}


def _num_shared(paths: Iterable[list[str]]) -> int:
    """How many parts all paths begin with."""
    return len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))))


def over_seeds(jobs: list[Job]) -> list[Job]:
    """Jobs that differ by their seed alone as one, with means and deviations."""
    keys = [key for key in _keys(jobs) if key != "seed"]
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        groups.setdefault((_values(job, keys), job.nfe), []).append(job)
    return [_averaged(group) if len(group) > 1 else group[0] for group in groups.values()]


def _averaged(jobs: list[Job]) -> Job:
    values = {
        key: [job.numbers[key] for job in jobs]
        for key in jobs[0].numbers
        if all(key in job.numbers for job in jobs)
    }
    columns = {
        key: column
        for key, column in jobs[0].columns.items()
        if all(key in job.columns for job in jobs)
    }
    seeds = ", ".join(text(job.settings["seed"]) for job in jobs)
    return replace(
        jobs[0],
        settings=jobs[0].settings | {"seed": seeds},
        numbers={key: fmean(found) for key, found in values.items()},
        columns=columns,
        spread={key: stdev(found) for key, found in values.items()},
    )


def _keys(jobs: Iterable[Job]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.settings))


def _values(job: Job, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(text(job.settings.get(key)) for key in keys)


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, str(value))


def varying(jobs: list[Job]) -> list[str]:
    """The settings that tell the jobs apart: those of a sampler or protocol, its own jobs."""

    def varies(key: str) -> bool:
        of_what = {"sampler": "sampler", "protocol": "protocol.name"}.get(key.partition(".")[0])
        found: dict[Any, set[str]] = {}
        for job in jobs:
            group = None if of_what in (None, key) else job.settings.get(of_what)
            found.setdefault(group, set()).add(text(job.settings.get(key)))
        return any(len(values) > 1 for values in found.values())

    return [key for key in _keys(jobs) if varies(key)]


def columns_of(jobs: Iterable[Job]) -> dict[str, Column]:
    """Those of all numbers that any job has, metrics first."""
    found = {key: column for job in jobs for key, column in job.columns.items()}
    return dict(sorted(found.items(), key=lambda item: item[1] == SECONDS))


def titles_of(keys: Iterable[str]) -> dict[str, str]:
    """What to call settings: by the last part of their keys, or by all of it where two share it."""
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    twice = [title for title in last.values() if list(last.values()).count(title) > 1]
    return {key: key if title in twice else title for key, title in last.items()}


def label_parts(job: Job, keys: list[str]) -> list[str]:
    """What sets a job apart, such as ["dbim", "eta 0"]."""
    return [
        text(job.settings[key]) if key == "sampler" else f"{title} {text(job.settings[key])}"
        for key, title in titles_of(keys).items()
        if job.settings.get(key) is not None
    ]


def text(value: Any) -> str:
    """A setting as tables and plots show it."""
    if value is None:
        return "–"
    return f"{value:.10g}" if isinstance(value, float) else printable(str(value))


def cells(
    numbers: Mapping[str, float],
    columns: Mapping[str, Column],
    spread: Mapping[str, float] | None = None,
) -> list[str]:
    """Numbers as the table shows them, with their deviations where there are any."""
    return [
        _cell(numbers.get(key), column, (spread or {}).get(key)) for key, column in columns.items()
    ]


def _cell(value: float | None, column: Column, deviation: float | None) -> str:
    if value is None:
        return "–"
    cell = f"{value * column.scale:.{column.digits}f}"
    return cell if deviation is None else f"{cell} ± {deviation * column.scale:.{column.digits}f}"


def baselines_of(jobs: list[Job]) -> Iterator[tuple[str, dict[str, float]]]:
    """The baselines that the jobs state, each once: (title, numbers), equal if shown as equal.

    Where they differ among the jobs, the title says whose they are.
    """
    columns = columns_of(jobs)
    keys = [key for key in varying(jobs) if not key.startswith(("sampler", "seed"))]
    for title in dict.fromkeys(title for job in jobs for title in job.baselines):
        owners: dict[frozenset[tuple[str, str]], list[Job]] = {}
        for job in jobs:
            if title in job.baselines:
                shown_as = zip(columns, cells(job.baselines[title], columns), strict=True)
                line = frozenset((key, cell) for key, cell in shown_as if cell != "–")
                owners.setdefault(line, []).append(job)
        lines = [line for line in owners if not any(line < other for other in owners)]
        for line in lines:
            own = owners[line]
            same = [key for key in keys if len({text(job.settings.get(key)) for job in own}) == 1]
            whose = ", ".join(label_parts(own[0], same)) if len(lines) > 1 else ""
            yield f"{title} ({whose})" if whose else title, own[0].baselines[title]
