"""The one exception that speaks to the person at the keyboard."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: the message names the thing that is wrong and the remedy."""


def cause_of(error: Exception) -> Exception:
    """The `UserError` that it is, or that caused it, or else the error itself."""
    caused = isinstance(error.__cause__, UserError) and not isinstance(error, UserError)
    return error.__cause__ if caused else error


@contextmanager
def one_line_errors(*others: type[Exception]) -> Iterator[None]:
    """Ends the program with one line on a `UserError`, raised or as a cause, or on `others`."""
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        if not isinstance(cause, (UserError, *others)):
            raise
        if isinstance(cause, OSError) and cause.filename:
            cause = f"cannot use {cause.filename} ({cause.strerror}): hydra.run.dir=DIR or "
            cause += "hydra.sweep.dir=DIR chooses another folder to write to"
        # a worker process of a DataLoader puts its traceback before the message
        message = str(cause).rpartition(f"{UserError.__module__}.UserError: ")[2].rstrip()
        raise SystemExit(f"error: {message}") from None
