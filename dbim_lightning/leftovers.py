"""Folders that Hydra makes for a run before anybody knows whether it will be one."""

import atexit
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def take_back_later(folder: Path, log: str) -> None:
    """At the end of the command, removes what it has made of a folder and its parents, as far as
    they hold nothing but Hydra's own files. Folders that are there already stay.

    Args:
        folder: of a run, or of a sweep.
        log: the name of each job's log.
    """
    folder = folder.absolute()
    if made := [each for each in (folder, *folder.parents) if not each.exists()]:
        atexit.register(_take_back, made, log)


def _take_back(made: Sequence[Path], log: str) -> None:
    folder = made[0]
    jobs = [each for each in folder.glob("*") if each.is_dir() and each.name != ".hydra"]
    for each in (*jobs, folder):  # of a sweep, those that were refused
        files = [file for file in each.rglob("*") if not file.is_dir()]
        if files and all(_is_hydras(file, log) for file in files):
            for file in files:
                file.unlink(missing_ok=True)
            for inner in sorted(each.rglob("*"), reverse=True):
                _remove_empty(inner)
            _remove_empty(each)
    for each in made:
        _remove_empty(each)


def _is_hydras(file: Path, log: str) -> bool:
    """Whether a file says nothing but what was asked: of a job's log, that it is empty."""
    if file.name in (log, ".lock"):
        return file.stat().st_size == 0
    return file.name == "multirun.yaml" or file.parent.name == ".hydra"


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
