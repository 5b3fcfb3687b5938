"""Gathers the `results.json` of many jobs into a CSV, a Markdown table and a plot against NFE."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dbim_lightning.errors import UserError, one_line_errors

Row = dict[str, Any]


class _Metric(NamedTuple):
    title: str
    scale: float
    digits: int
    better: str


_METRICS = {
    "kid_lite0": _Metric("KID × 10³", 1e3, 2, "↓"),
    "fd_lite0": _Metric("FD", 1, 2, "↓"),
    "mse": _Metric("MSE", 1, 4, "↓"),
    "psnr": _Metric("PSNR", 1, 2, "↑"),
    "ssim": _Metric("SSIM", 1, 3, "↑"),
}
_PANELS = ("kid_lite0", "fd_lite0", "mse", "ssim")
_OUTCOMES = {*_METRICS, "nfe_counted", "seconds", "images_per_second", "references"}
_REFERENCES = {"source": ("source", ":"), "train_targets": ("training targets", "--")}

# Okabe and Ito's colour-blind-safe palette, without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "os^Dvp"


def jobs(folder: str | Path) -> dict[Path, Row]:
    """Every folder with a `results.json`, at any depth, sorted by settings, then by NFE.

    Raises:
        UserError: if there is none, or one is not a result row.
    """
    paths = Path(folder).rglob("results.json")
    rows = {path.parent: _read(path) for path in sorted(paths)}
    if not rows:
        raise UserError(f"no results.json under {folder}: name the folder of an evaluation")
    names = (*_settings(list(rows.values())), "nfe")
    order = sorted(rows, key=lambda job: [_sortable(rows[job].get(name)) for name in names])
    return {job: rows[job] for job in order}


def collect(folder: str | Path) -> list[Row]:
    """The rows of all `jobs` in a folder."""
    return list(jobs(folder).values())


def labels(folder: str | Path) -> dict[Path, str]:
    """What to call each of the `jobs` in a folder: the settings that vary, and below them NFE."""
    rows = jobs(folder)
    varying = _varying(list(rows.values()))
    settings = {job: f"{_label(row, varying)}\n" if varying else "" for job, row in rows.items()}
    return {job: f"{settings[job]}NFE {row['nfe']}" for job, row in rows.items()}


def _read(path: Path) -> Row:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}): evaluate this job again") from error
    if not isinstance(row, dict) or not {"sampler", "nfe"} <= row.keys():
        raise UserError(f"{path} lacks sampler or nfe: evaluate this job again")
    return row


def _settings(rows: list[Row]) -> list[str]:
    """What a job was asked to do, NFE apart: all keys but the outcomes, the usual ones first."""
    keys = dict.fromkeys(["sampler", "order", "eta", *(key for row in rows for key in row)])
    return [key for key in keys if key not in {*_OUTCOMES, "nfe"}]


def _varying(rows: list[Row]) -> list[str]:
    return [name for name in _settings(rows) if len({_text(row.get(name)) for row in rows}) > 1]


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, str(value))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.10g}" if is_number else str(value)


def _metric_cells(values: Row, names: list[str]) -> tuple[str, ...]:
    return tuple(
        "–" if values.get(name) is None else f"{values[name] * scale:.{digits}f}"
        for name, (_, scale, digits, _) in ((name, _METRICS[name]) for name in names)
    )


def _references(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    """The references that the jobs state, each once: (key, metrics), equal to the digits shown."""
    seen = set()
    for key in _REFERENCES:
        for row in rows:
            values = row.get("references", {}).get(key)
            if values and (line := (key, _metric_cells(values, list(_METRICS)))) not in seen:
                seen.add(line)
                yield key, values


def table(rows: list[Row]) -> str:
    """Markdown: what varies among the jobs, NFE and metrics; below it what the jobs share."""
    varying = _varying(rows)
    counted = any(row.get("nfe_counted", row["nfe"]) != row["nfe"] for row in rows)
    settings = [*varying, "nfe", *(["nfe_counted"] if counted else [])]
    metrics = [name for name in _METRICS if any(row.get(name) is not None for row in rows)]

    titles = [{"nfe": "NFE", "nfe_counted": "NFE counted"}.get(name, name) for name in settings]
    titles += [f"{_METRICS[name].title} {_METRICS[name].better}" for name in metrics]
    lines = [titles, ["---:"] * len(titles)]
    for row in rows:
        lines.append([_text(row.get(name)) for name in settings])
        lines[-1] += _metric_cells(row, metrics)
    for key, values in _references(rows):
        blanks = [""] * (len(settings) - 1)
        lines.append([_REFERENCES[key][0], *blanks, *_metric_cells(values, metrics)])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{_caption(rows, varying)}\n"


def _caption(rows: list[Row], varying: list[str]) -> str:
    shared = [
        f"{name} {_text(rows[0][name])}"
        for name in _settings(rows)
        if name not in {*varying, "num_images", "checkpoint"} and rows[0].get(name) is not None
    ]
    if "num_images" in rows[0] and "num_images" not in varying:
        shared.insert(0, f"{rows[0]['num_images']} images")
    note = "KID and FD are in EfficientNet-Lite0 features, not Inception's."
    return f"All rows: {', '.join(shared)}. {note}" if shared else note


def _label(row: Row, varying: list[str]) -> str:
    """What sets a line of the plot apart, such as "dbim, eta 0"."""
    parts = [
        _text(row[name]) if name == "sampler" else f"{name} {_text(row[name])}"
        for name in varying
        if row.get(name) is not None
    ]
    return ", ".join(parts) or str(row["sampler"])


def plot(rows: list[Row]) -> Figure:
    """Small panels side by side: one metric each against NFE, one line per setting."""
    names = [name for name in _PANELS if any(row.get(name) is not None for row in rows)]
    if not names:
        raise UserError("no result row holds a metric: evaluate with metrics")
    figure = Figure(figsize=(2.4 * max(len(names), 2), 2.9), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_lines(axes, rows, name)
        _draw_references(axes, rows, name)
        _dress(axes, [row["nfe"] for row in rows])
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    columns = 4 if max(map(len, entries)) < 24 else 2
    figure.legend(
        entries.values(), entries, loc="outside lower center", ncols=columns, frameon=False
    )
    return figure


def _draw_lines(axes: Axes, rows: list[Row], name: str) -> None:
    varying = _varying(rows)
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(_label(row, varying), []).append(row)
    for i, (label, line) in enumerate(lines.items()):
        points = [row for row in line if row.get(name) is not None]
        axes.plot(
            [row["nfe"] for row in points],
            [row[name] * _METRICS[name].scale for row in points],
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4,
            linewidth=1.5,
            label=label,
        )


def _draw_references(axes: Axes, rows: list[Row], name: str) -> None:
    """A dashed line where the reference is near the curves, otherwise its value under the title."""
    values = [row[name] * _METRICS[name].scale for row in rows if row.get(name) is not None]
    reach = max(2 * (max(values) - min(values)), 0.2 * abs(max(values)))
    far = []
    for key, reference in _references(rows):
        if reference.get(name) is None:
            continue
        label, style = _REFERENCES[key]
        level = reference[name] * _METRICS[name].scale
        if min(values) - reach <= level <= max(values) + reach:
            axes.axhline(level, color="#666666", linestyle=style, linewidth=1.2, label=label)
        else:
            far.append(f"{label} {level:.3g}")
    axes.set_title(f"{_METRICS[name].title} {_METRICS[name].better}", pad=15)
    note = axes.text(0.5, 1.03, ", ".join(far), transform=axes.transAxes, ha="center")
    note.set(color="#666666", fontsize=8, in_layout=False)


def _dress(axes: Axes, budgets: list[int]) -> None:
    """A log axis with a tick at each NFE, labelled where there is room."""
    ticks = sorted(set(budgets))
    gap = (ticks[-1] / ticks[0]) ** 0.1
    labels, last = [], 0.0
    for tick in ticks:
        crowded = tick < gap * last
        labels.append("" if crowded else str(tick))
        last = last if crowded else tick
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("NFE")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def summarise(folder: str | Path) -> Path:
    """Writes summary.csv, summary.md and summary.png into a folder of jobs.

    Returns:
        The path of summary.md.

    Raises:
        UserError: if the folder holds no result rows.
    """
    folder = Path(folder)
    rows = collect(folder)
    picture = io.BytesIO()
    plot(rows).savefig(picture, format="png")
    _write(folder / "summary.csv", _csv(rows).encode())
    _write(folder / "summary.png", picture.getvalue())
    return _write(folder / "summary.md", table(rows).encode())


def _write(path: Path, content: bytes) -> Path:
    """Writes beside the path and renames, so that no reader meets half a file."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    return beside.replace(path)


def _csv(rows: list[Row]) -> str:
    flat = [dict(_flatten(row)) for row in rows]
    text = io.StringIO()
    names = dict.fromkeys(key for row in flat for key in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flatten(row: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs such as ("references.source.mse", 0.147)."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def main(arguments: list[str]) -> None:
    """Summarises the folder that is named and prints its table."""
    if len(arguments) != 1:
        raise UserError("usage: python -m dbim_lightning.evaluation.report FOLDER")
    print(summarise(arguments[0]).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
