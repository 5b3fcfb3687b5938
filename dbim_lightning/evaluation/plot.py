"""Metrics against NFE, in panels side by side."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.kinds import kind_of, metrics_of
from dbim_lightning.evaluation.rows import (
    Row,
    calls,
    label,
    over_seeds,
    references,
    shown,
    varying,
)

_STYLES = {"source": ":", "training targets": "--"}

# Okabe and Ito's colour-blind-safe palette, without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "os^Dvp"


def plot(rows: list[Row]) -> Figure:
    """Small panels side by side: one metric each against NFE, one line per setting."""
    rows = over_seeds(shown(rows))
    names = metrics_of(rows)
    if not names:
        raise UserError("no result row holds a metric: evaluate with metrics")
    names = [name for name in names if not name.startswith(("psnr", "is_"))] or names
    figure = Figure(figsize=(2.4 * max(len(names), 2), 2.5), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_lines(axes, rows, name)
        _draw_references(axes, rows, name)
        _dress(axes, [calls(row) for row in rows])
        _scale(axes, [row[name] for row in rows if row.get(name) is not None])
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    columns = 4 if len(names) > 2 and max(map(len, entries)) < 24 else 2
    figure.set_figheight(2.5 + 0.2 * math.ceil(len(entries) / columns))
    figure.legend(
        entries.values(), entries, loc="outside lower center", ncols=columns, frameon=False
    )
    return figure


def _draw_lines(axes: Axes, rows: list[Row], name: str) -> None:
    names = varying(rows)
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(label(row, names), []).append(row)
    for i, (title, line) in enumerate(lines.items()):
        points = [row for row in line if row.get(name) is not None]
        colour, scale = _COLOURS[i % len(_COLOURS)], kind_of(name).scale
        axes.plot(
            [calls(row) for row in points],
            [row[name] * scale for row in points],
            color=colour,
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4,
            linewidth=1.5,
            label=title,
        )
        for row in points:
            if "spread" in row:
                height, bar = row[name] * scale, row["spread"][name] * scale
                axes.errorbar(calls(row), height, bar, capsize=2, color=colour)


def _draw_references(axes: Axes, rows: list[Row], name: str) -> None:
    """A dashed line where the reference is near the curves, otherwise its value under the title."""
    kind = kind_of(name)
    values = [row[name] * kind.scale for row in rows if row.get(name) is not None]
    reach = max(2 * (max(values) - min(values)), 0.2 * abs(max(values)))
    far = []
    for title, reference in references(rows):
        if reference.get(name) is None:
            continue
        level = reference[name] * kind.scale
        if min(values) - reach <= level <= max(values) + reach:
            axes.axhline(
                level, color="#666666", linestyle=_STYLES[title], linewidth=1.2, label=title
            )
        else:
            far.append(f"{title} {level:.3g}")
    axes.set_title(f"{kind.title} {kind.better}", pad=15)
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
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _scale(axes: Axes, values: list[float]) -> None:
    """A log axis where the largest value would hide the differences among the small ones."""
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
