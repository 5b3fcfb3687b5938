"""The folder of a run, which holds one run alone."""

import errno
import fcntl
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbim_lightning.commands import word
from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json, tell_once, writing
from dbim_lightning.weights.files import read_tensors

CHECKPOINTS, LAST, FINISHED = "checkpoints", "last.ckpt", "training.json"
LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a folder, where its file system knows of locks.

    The lock, on a file `.lock`, ends with the process.

    Raises:
        UserError: another process has it, or the folder cannot be written.
    """
    path = folder / LOCK
    with writing(path):
        file = path.open("a")
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    f"another training writes to {folder}: wait for it, or choose another folder "
                    "with hydra.run.dir=DIR"
                ) from None
        yield


def step_name(step: int) -> str:
    """Of a checkpoint."""
    return f"step_{step:07d}.ckpt"


def steps_in(checkpoints: Path) -> list[str]:
    """Names of the checkpoints of steps in a folder."""
    return [path.name for path in checkpoints.glob("step_*.ckpt")]


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None; names those that cannot."""
    checkpoints = folder / CHECKPOINTS
    paths = [path for path in checkpoints.glob("*.ckpt") if re.match("step_|last", path.name)]
    seen = set()
    for path in sorted(paths, key=lambda path: (_step_of(path), path.name != LAST))[::-1]:
        if path.stat().st_ino in seen:
            continue
        seen.add(path.stat().st_ino)
        if (reason := _why_broken(path)) is None:
            return path
        tell_once(f"{os.path.relpath(path)} is broken ({reason}): taking the one before")
    return None


def _step_of(path: Path) -> float:
    """As its name says, or its content; one that is broken comes before all, to be named."""
    if found := re.fullmatch(r"step_(\d+)\.ckpt", path.name):
        return int(found[1])
    try:
        return float(read_tensors(path)["global_step"])
    except (UserError, KeyError, TypeError, ValueError):
        return math.inf


def _why_broken(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                return f"wrong checksum of {name}"
        read_tensors(path)
    except (UserError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return str(error)
    return None


def named(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to go on from, or None for a new run.

    Args:
        resume: a checkpoint, the folder of a run, or "auto": the folder that is written to, which
            may be new.

    Raises:
        UserError: a folder without a whole checkpoint.
    """
    if resume == "auto":
        return newest_whole(folder)
    if resume is None:
        return None
    if not resume or not Path(str(resume)).is_dir():
        return Path(str(resume))
    if (found := newest_whole(Path(resume))) is None:
        raise UserError(f"{resume} has no whole checkpoint: give the folder of a run")
    return found


def require_own(folder: Path, resumed: Path | None, step: int) -> None:
    """Refuses a folder that holds another run, or this one with more steps than it goes on from.

    Args:
        folder: to write to.
        resumed: the checkpoint that is gone on from, or None.
        step: of that checkpoint.

    Raises:
        UserError: as said.
    """
    checkpoints = folder / CHECKPOINTS
    holds_run = any(checkpoints.glob("*.ckpt")) or (folder / FINISHED).exists()
    is_own = resumed is not None and resumed.resolve().parent == checkpoints.resolve()
    if not holds_run:
        return
    newest = newest_whole(folder)
    if not is_own:
        go_on = f", or go on with {word('resume', newest)}" if newest else ""
        raise UserError(
            f"{folder} holds a run already: choose another with hydra.run.dir=DIR{go_on}"
        )
    if newest is not None and read_tensors(newest)["global_step"] > step:
        raise UserError(
            f"{folder} has later steps than {resumed}: go on with {word('resume', newest)}, or "
            "branch off into another folder with hydra.run.dir=DIR"
        )


def finished_at(folder: Path) -> int | None:
    """The step at which the run in a folder was finished, if it was."""
    result = folder / FINISHED
    if not result.exists():
        return None
    remedy = "delete it, and resume the run to have it again"
    if type(step := read_json(result, remedy).get("step")) is not int:
        raise UserError(f"{result} has no step: {remedy}")
    return step
