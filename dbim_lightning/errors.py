"""The one exception that speaks to the person at the keyboard."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: the message names the thing that is wrong and the remedy."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line where a `UserError` (also one wrapped by Hydra) comes up."""
    try:
        yield
    except Exception as error:
        for cause in (error, error.__cause__):
            if isinstance(cause, UserError):
                raise SystemExit(f"error: {cause}") from None
        raise
