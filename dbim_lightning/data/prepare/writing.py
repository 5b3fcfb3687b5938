"""Errors of writing, as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbim_lightning.errors import UserError


@contextmanager
def one_line_write_errors(path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make room or choose another --root, "
            "and run the same command again, which goes on from here"
        ) from error
