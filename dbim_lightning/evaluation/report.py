"""Gathers the `results.json` of many jobs into a CSV, a Markdown table and a plot against NFE."""

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation.kinds import kind_of, metrics_of
from dbim_lightning.evaluation.plot import plot
from dbim_lightning.evaluation.rows import (
    Row,
    calls,
    collect,
    metric_cells,
    over_seeds,
    references,
    settings,
    shown,
    text,
    varying,
)
from dbim_lightning.files import write_whole


def table(rows: list[Row]) -> str:
    """Markdown: what varies among the jobs, NFE and metrics; below it what the jobs share."""
    rows = over_seeds(shown(rows))
    names = varying(rows)
    columns = [*names, "nfe"]
    if any(calls(row) != row["nfe"] for row in rows):
        columns.append("nfe_counted")
    metrics = metrics_of(rows)

    titles = [{"nfe": "NFE", "nfe_counted": "NFE counted"}.get(name, name) for name in columns]
    titles += [f"{kind_of(name).title} {kind_of(name).better}" for name in metrics]
    lines = [titles, ["---:"] * len(titles)]
    for row in rows:
        lines.append([text(row.get(name)) for name in columns])
        lines[-1] += metric_cells(row, metrics)
    for title, values in references(rows):
        blanks = [""] * (len(columns) - 1)
        lines.append([title, *blanks, *metric_cells(values, metrics)])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{_caption(rows, names)}\n"


def _caption(rows: list[Row], names: list[str]) -> str:
    """What all jobs share, then what all jobs of one sampler share."""
    unsaid = {*names, "num_images", "checkpoint", "dataset"}
    fixed = [name for name in settings(rows) if name not in unsaid]
    same = [name for name in fixed if len({text(row.get(name)) for row in rows}) == 1]
    shared = [f"{name} {text(rows[0][name])}" for name in same if rows[0].get(name) is not None]
    if "num_images" in rows[0] and "num_images" not in names:
        shared.insert(0, f"{rows[0]['num_images']} images")
    parts = {"All rows": ", ".join(shared)}
    for row in rows:
        own = [name for name in fixed if name not in same and row.get(name) is not None]
        parts[row["sampler"]] = ", ".join(f"{name} {text(row[name])}" for name in own)
    if any("spread" in row for row in rows):
        parts["All rows"] += ", mean ± standard deviation over seeds"
    caption = " ".join(f"{who}: {what}." for who, what in parts.items() if what)
    if any("fd_lite0" in row for row in rows):
        caption += " KID and FD are in EfficientNet-Lite0 features, not Inception's."
    return caption


def summarise(folder: str | Path) -> Path:
    """Writes summary.csv, summary.md and, of metrics, summary.png into a folder of jobs.

    Returns:
        The path of summary.md.

    Raises:
        UserError: if the folder holds no result rows.
    """
    folder = Path(folder)
    rows = collect(folder)
    write_whole(folder / "summary.csv", _csv(rows))
    write_whole(folder / "summary.md", table(rows))
    if metrics_of(rows):
        picture = io.BytesIO()
        plot(rows).savefig(picture, format="png")
        write_whole(folder / "summary.png", picture.getvalue())
    return folder / "summary.md"


def tell(folder: Path) -> None:
    """Prints the summary of a sweep, and where it is; ends the program if no job was done."""
    if not (folder / "summary.md").exists():
        raise SystemExit(f"error: no job of the sweep in {folder} could be done, for what is above")
    print((folder / "summary.md").read_text(encoding="utf-8"))
    print(f"Table: {folder / 'summary.md'} (and .csv)")
    pictures = [folder / name for name in ("summary.png", "images.png")]
    print("Pictures:", ", ".join(str(path) for path in pictures if path.exists()))


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
