"""Jobs as a Markdown table."""

from dbim_lightning.evaluation.metrics.metric import Column
from dbim_lightning.evaluation.report.rows import (
    Job,
    baselines_of,
    cells,
    columns_of,
    over_seeds,
    shown,
    text,
    titles_of,
    varying,
)

_OF_PROTOCOL = ("name", "split", "rounding", "reference")
_SAID = ("seed", *(f"protocol.{key}" for key in _OF_PROTOCOL), "origin.precision")


def header(column: Column) -> str:
    """Such as "PSNR, dB ↑"."""
    unit = f", {column.unit}" if column.unit else ""
    return f"{column.title}{unit} {column.better}".rstrip()


def table(jobs: list[Job]) -> str:
    """Markdown: what varies among the jobs, NFE and numbers; below it what the jobs share."""
    jobs = over_seeds(shown(jobs))
    keys, columns = varying(jobs), columns_of(jobs)
    counted = any(job.calls != job.nfe for job in jobs)

    titles = [*titles_of(keys).values(), "NFE", *["NFE counted"] * counted]
    num_blank = len(titles) - 1
    titles += [header(column) for column in columns.values()]
    lines = [titles, ["---:"] * len(titles)]
    for job in jobs:
        settings = [text(job.settings.get(key)) for key in keys]
        settings += [str(job.nfe), *[str(job.calls)] * counted]
        lines.append([*settings, *cells(job.numbers, columns, job.spread)])
    for title, values in baselines_of(jobs):
        lines.append([title, *[""] * num_blank, *cells(values, columns)])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{_caption(jobs, keys)}\n"


def _caption(jobs: list[Job], keys: list[str]) -> str:
    """What all jobs share, then what all jobs of one sampler share, then notes on columns."""
    told = [key for job in jobs for key in job.settings if key.startswith("sampler")]
    fixed = [key for key in dict.fromkeys([*told, *_SAID]) if key not in keys]
    same = [key for key in fixed if len({text(job.settings.get(key)) for job in jobs}) == 1]
    parts = {"All rows": _in_words(jobs[0], same)}
    if "num_images" not in keys:
        images = f"{jobs[0].settings['num_images']} images"
        parts["All rows"] = f"{images}, {parts['All rows']}"
    for job in jobs:
        parts[job.settings["sampler"]] = _in_words(job, [key for key in fixed if key not in same])
    if any(job.spread for job in jobs):
        parts["All rows"] += ", mean ± standard deviation over seeds"
    caption = [f"{who}: {what}." for who, what in parts.items() if what]
    notes: dict[str, list[str]] = {}
    for column in columns_of(jobs).values():
        if column.note:
            notes.setdefault(column.note, []).append(column.title.partition(" ×")[0])
    caption += [
        f"{' and '.join(titles)} {'are' if len(titles) > 1 else 'is'} {note}."
        for note, titles in notes.items()
    ]
    return " ".join(caption)


def _in_words(job: Job, keys: list[str]) -> str:
    titles = titles_of(keys).items()
    given = [(key, title) for key, title in titles if job.settings.get(key) is not None]
    return ", ".join(f"{title} {text(job.settings[key])}" for key, title in given)
