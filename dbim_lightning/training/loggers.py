"""CSV always; Weights & Biases where it is not disabled."""

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from dbim_lightning import wandb_runs
from dbim_lightning.errors import UserError
from dbim_lightning.files import write_whole, writing
from dbim_lightning.training.folder import finished_at

Row = dict[str, Any]


def make_loggers(folder: Path, project: str, step: int | None = None) -> list[Logger]:
    """A CSV logger (`logs/metrics.csv`) and a W&B logger in `folder`, whose name its run has.

    Args:
        folder: of the run.
        project: in W&B.
        step: that a run goes on from in its own folder: earlier rows stay, later ones, which are
            made again, go; and W&B goes on with its run.
    """
    path = folder / "logs" / "metrics.csv"
    before = [] if step is None else _rows_of(path)
    is_finished = step is not None and finished_at(folder) == step
    rows = [row for row in before if _is_before(row, step, is_finished)]
    earlier = None if step is None else wandb_runs.id_in(folder)
    again = {} if earlier is None else {"id": earlier, "resume": "allow"}
    seen = -1 if earlier is None else max((int(row["step"]) for row in before), default=-1)

    def wandb_logger(**options: Any) -> WandbLogger:
        run = {"project": project, "name": folder.name, "group": folder.name, **again}
        logger = ContinuedWandb(seen, save_dir=folder, **run, **options)
        _ = logger.experiment
        return logger

    started = wandb_runs.start(wandb_logger)
    logger = CSVLogger(folder, name="logs", version="", flush_logs_every_n_steps=1)
    if rank_zero_only.rank == 0:
        logger._experiment = Table(path, rows)
    return [logger] if started is None else [logger, started]


class ContinuedWandb(WandbLogger):
    """Leaves out the steps that an earlier run has sent already, up to the step `seen`."""

    def __init__(self, seen: int, **options: Any):
        super().__init__(**options)
        self._seen = seen

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None or step > self._seen:
            super().log_metrics(metrics, step)


class Table:
    """Where `CSVLogger` writes its rows, each of them at once.

    The file is always whole but for its last row, where a machine stops while that is added; rows
    that cannot be written wait for the next time.

    Args:
        path: of the file.
        rows: that it begins with, in place of those in it.
    """

    def __init__(self, path: Path, rows: Sequence[Row]):
        self.path, self._waiting, self._warned = path, [], False
        self._columns = sorted({key for row in rows for key in row})
        if rows:
            write_whole(path, self._text(rows, True))
        else:
            path.unlink(missing_ok=True)

    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int) -> None:
        plain = {k: v.item() if isinstance(v, Tensor) else v for k, v in metrics.items()}
        self._waiting.append({**plain, "step": step})

    def save(self) -> None:
        """Adds the rows that wait; warns once where there is no room."""
        if not self._waiting:
            return
        new = {key for row in self._waiting for key in row} - {*self._columns}
        try:
            if new or not self.path.exists():
                rows = _rows_of(self.path) + self._waiting
                self._columns = sorted({*self._columns, *new})
                write_whole(self.path, self._text(rows, True))
            else:
                self._append(self._text(self._waiting, False))
        except UserError as error:
            if not self._warned:
                warnings.warn(f"{error}; the rows wait for it", stacklevel=2)
            self._warned = True
        else:
            self._waiting, self._warned = [], False

    def _append(self, text: str) -> None:
        size = self.path.stat().st_size
        with writing(self.path), self.path.open("ab", buffering=0) as file:
            try:
                left = text.encode()
                while left:  # of a disk that has room for a part
                    left = left[file.write(left) :]
            except OSError:
                os.truncate(self.path, size)
                raise

    def _text(self, rows: Sequence[Row], header: bool) -> str:
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, self._columns)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()


def _rows_of(path: Path) -> list[Row]:
    """The whole rows of a file, or none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("step") or "").isdecimal() and None not in row.values()]


def _is_before(row: Row, step: int, finished: bool) -> bool:
    """Whether a row was logged before so many steps were done.

    Lightning counts steps from 0 while it trains, and from 1 after that; evaluations, which give no
    epoch, count from 1.
    """
    counts_from_1 = finished or not row.get("epoch")
    return int(row["step"]) < step + counts_from_1
