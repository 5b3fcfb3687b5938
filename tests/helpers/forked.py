"""Runs commands in forks of this process, which has imported all that they import."""

import atexit
import logging
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from commands import ROOT

LIMIT = 10  # seconds of computing


class Ended(NamedTuple):
    """status: of the exit. text: all that was printed."""

    status: int
    text: str


def command(words: Sequence[str]) -> Callable[[], None]:
    """What `python WORDS` runs: a script of the project, or a module after -m."""

    def run() -> None:
        if words[0] == "-m":
            sys.argv = list(words[1:])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [str(ROOT / words[0]), *words[1:]]
            runpy.run_path(sys.argv[0], run_name="__main__")

    return run


def forked(run: Callable[[], None], folder: Path) -> Ended:
    """Runs a function in a fork of this process, in a folder; one that takes long is killed."""
    printed = folder.with_name(f"{folder.name}.txt")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run_and_exit(run, folder, printed)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), printed.read_text(errors="replace"))


def _run_and_exit(run: Callable[[], None], folder: Path, printed: Path) -> None:
    """As the interpreter ends: a text in SystemExit is printed, with status 1."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.alarm(6 * LIMIT)  # of waiting
        file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        atexit._clear()
        logging.raiseExceptions = False  # of handlers that write to where this process did
        os.chdir(folder)
        os.environ["WANDB_MODE"] = "offline"
        torch.set_num_threads(1)
        run()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
