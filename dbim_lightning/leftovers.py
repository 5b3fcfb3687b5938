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
    folder, *parents = made
    inner = sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True)
    for each in (*inner, folder):
        files = [file for file in each.rglob("*") if not file.is_dir()]
        own = (log, "multirun.yaml")
        if all(file.name in own or file.parent.name == ".hydra" for file in files):
            for file in files:
                file.unlink(missing_ok=True)
            _remove_empty(each)
    for each in parents:
        _remove_empty(each)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
