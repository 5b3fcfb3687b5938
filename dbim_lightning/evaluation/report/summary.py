"""Gathers the `results.json` of many jobs into a CSV, a Markdown table, plots and a picture."""

import csv
import io
from pathlib import Path

from matplotlib.figure import Figure

from dbim_lightning.evaluation.report.plot import NFE, SECONDS_PER_IMAGE, plot, plotted_columns
from dbim_lightning.evaluation.report.results import FILE, flat_row, read_row
from dbim_lightning.evaluation.report.rows import find_jobs, over_seeds
from dbim_lightning.evaluation.report.table import table
from dbim_lightning.files import write_whole

PLOTS = {"summary.png": NFE, "summary_cost.png": SECONDS_PER_IMAGE}


def summarise(folder: str | Path) -> Path:
    """Writes summary.csv, summary.md and, of metrics, the plots, into a folder of jobs.

    Returns:
        The path of summary.md.

    Raises:
        UserError: if the folder holds no result rows.
    """
    folder = Path(folder)
    found = find_jobs(folder)
    jobs = list(found.values())
    write_whole(folder / "summary.csv", _csv([read_row(path / FILE) for path in found]))
    write_whole(folder / "summary.md", table(jobs))
    for name, axis in PLOTS.items():
        if plotted_columns([job for job in over_seeds(jobs) if axis.of(job) is not None]):
            write_whole(folder / name, _png(plot(jobs, axis)))
    return folder / "summary.md"


def tell(folder: Path) -> None:
    """Prints the summary of a sweep, and where it is; ends the program if no job was done."""
    if not (folder / "summary.md").exists():
        raise SystemExit(f"error: no job of the sweep in {folder} could be done, for what is above")
    print((folder / "summary.md").read_text(encoding="utf-8"))
    print(f"Table: {folder / 'summary.md'} (and .csv)")
    pictures = [folder / name for name in (*PLOTS, "images.png")]
    print("Pictures:", ", ".join(str(path) for path in pictures if path.exists()))


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _csv(rows: list[dict]) -> str:
    """A line for each row, a column for each number and setting, by dotted key."""
    lines = [flat_row(row) for row in rows]
    text = io.StringIO()
    names = dict.fromkeys(key for line in lines for key in line)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
