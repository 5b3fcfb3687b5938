"""The one exception that speaks to the person at the keyboard."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: the message names the thing that is wrong and the remedy."""


@contextmanager
def one_line_errors(*others: type[Exception]) -> Iterator[None]:
    """Ends the program with one line on a `UserError`, or on `others`; without one on Ctrl-C.

    Names of files that are not UTF-8 are printed byte by byte as they are.
    """
    sys.stdout.reconfigure(errors="surrogateescape")
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except (UserError, *others) as error:
        message = str(error)
        if isinstance(error, OSError) and error.filename:
            message = f"cannot use {error.filename} ({error.strerror}): hydra.run.dir=DIR or "
            message += "hydra.sweep.dir=DIR chooses another folder to write to"
        # a worker process of a DataLoader puts its traceback before the message
        message = message.rpartition(f"{UserError.__module__}.UserError: ")[2].rstrip()
        raise SystemExit(f"error: {message}") from None
