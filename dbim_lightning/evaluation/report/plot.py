"""Metrics against NFE or time, in panels side by side."""

import math
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics.metric import Column
from dbim_lightning.evaluation.report.rows import (
    Job,
    baselines_of,
    columns_of,
    label_parts,
    over_seeds,
    shown,
    text,
    varying,
)
from dbim_lightning.evaluation.report.table import header

# Okabe and Ito's colour-blind-safe palette, without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "os^Dvp"
_LETTERS_PER_INCH = 11  # of the legend
_BASELINE_STYLES = (":", "--", "-.")


class Axis(NamedTuple):
    """What metrics are drawn against.

    of: its value for a job, or None if the job has none.
    """

    title: str
    of: Callable[[Job], float | None]


NFE = Axis("NFE", lambda job: job.calls)
SECONDS_PER_IMAGE = Axis("seconds per image", lambda job: job.numbers.get("seconds_per_image"))


def plot(jobs: list[Job], axis: Axis = NFE) -> Figure:
    """Small panels side by side: one metric each, one line per setting.

    Raises:
        UserError: if no job has a metric.
    """
    jobs = [job for job in over_seeds(shown(jobs)) if axis.of(job) is not None]
    columns = plotted_columns(jobs)
    if not columns:
        raise UserError("no result row holds a metric to plot: evaluate with metrics")
    figure = Figure(figsize=(2.4 * max(len(columns), 2), 2.5), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (key, column) in zip(panels, columns.items(), strict=True):
        _draw_lines(axes, jobs, axis, key, column)
        _draw_baselines(axes, jobs, key, column)
        _dress(axes, axis, [axis.of(job) for job in jobs])
        _scale(axes, [job.numbers[key] for job in jobs if key in job.numbers])
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    letters = int(_LETTERS_PER_INCH * figure.get_figwidth())
    longest = max(map(len, entries))
    num_columns = next((n for n in (4, 2) if longest <= letters // n - 4), 1)
    labels = [textwrap.fill(label, letters - 8) for label in entries]
    num_lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(2.5 + 0.2 * math.ceil(num_lines / num_columns))
    figure.legend(
        entries.values(), labels, loc="outside lower center", ncols=num_columns, frameon=False
    )
    return figure


def plotted_columns(jobs: list[Job]) -> dict[str, Column]:
    """Of all numbers that some job has and that are for plots."""
    return {
        key: column
        for key, column in columns_of(jobs).items()
        if column.plotted and any(key in job.numbers for job in jobs)
    }


def _draw_lines(axes: Axes, jobs: list[Job], axis: Axis, key: str, column: Column) -> None:
    keys = varying(jobs)
    lines: dict[str, list[Job]] = {}
    for job in jobs:
        title = ", ".join(label_parts(job, keys)) or text(job.settings["sampler"])
        lines.setdefault(title, []).append(job)
    for i, (title, line) in enumerate(lines.items()):
        points = [job for job in line if key in job.numbers]
        colour = _COLOURS[i % len(_COLOURS)]
        axes.plot(
            [axis.of(job) for job in points],
            [job.numbers[key] * column.scale for job in points],
            color=colour,
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4,
            linewidth=1.5,
            label=title,
        )
        for job in points:
            if key in job.spread:
                height, bar = job.numbers[key] * column.scale, job.spread[key] * column.scale
                axes.errorbar(axis.of(job), height, bar, capsize=2, color=colour)


def _draw_baselines(axes: Axes, jobs: list[Job], key: str, column: Column) -> None:
    """A dashed line where the baseline is near the curves, otherwise its value under the title."""
    values = [job.numbers[key] * column.scale for job in jobs if key in job.numbers]
    reach = max(2 * (max(values) - min(values)), 0.2 * abs(max(values)))
    titles = list(dict.fromkeys(title for title, _ in baselines_of(jobs)))
    far = []
    for title, numbers in baselines_of(jobs):
        if key not in numbers:
            continue
        level = numbers[key] * column.scale
        if min(values) - reach <= level <= max(values) + reach:
            style = _BASELINE_STYLES[titles.index(title) % len(_BASELINE_STYLES)]
            axes.axhline(level, color="#666666", linestyle=style, linewidth=1.2, label=title)
        else:
            far.append(f"{title} {level:.3g}")
    axes.set_title(header(column), pad=15)
    note = axes.text(0.5, 1.03, ", ".join(far), transform=axes.transAxes, ha="center")
    note.set(color="#666666", fontsize=8, in_layout=False)


def _dress(axes: Axes, axis: Axis, values: list[float]) -> None:
    """A log axis with a tick at each whole number, such as an NFE, labelled where there is room."""
    axes.set_xscale("log")
    if all(isinstance(value, int) for value in values):
        ticks = sorted(set(values))
        gap = (ticks[-1] / ticks[0]) ** 0.1
        labels, last = [], 0.0
        for tick in ticks:
            crowded = tick < gap * last
            labels.append("" if crowded else str(tick))
            last = last if crowded else tick
        axes.set_xticks(ticks, labels)
    elif max(values) < 3 * min(values):
        axes.set_xscale("linear")
        axes.xaxis.set_major_locator(MaxNLocator(3))
    else:
        wide = max(values) > 8 * min(values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if wide else (1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(axis.title)
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
