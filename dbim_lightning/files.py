"""Files that are there whole or not at all, and one error where they cannot be written."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from dbim_lightning.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError`, such as a full disk or no permission, into a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the system's, but that of a damaged archive, say
            raise
        raise UserError(
            f"cannot write {path} ({error.strerror}): make room or choose another folder, "
            "and run the command again"
        ) from error


@contextmanager
def whole(path: Path, flush: bool = True) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and renames it once the block is done.

    The folder is made. Several processes may write the same file; a block that fails leaves none.

    Args:
        flush: waits until the file is on the disk, so that it survives also a machine that stops.

    Raises:
        UserError: the folder cannot be made or written, or the disk is full.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            if flush:
                _flush(beside)
            beside.replace(path)
            if flush:
                _flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes bytes, or `printable` text in UTF-8, as `whole` does."""
    if isinstance(content, str):
        content = printable(content).encode()
    with whole(path) as beside:
        beside.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Writes JSON as `whole` does, with null for NaN and infinities, which JSON does not have."""
    write_whole(path, json.dumps(finite(value), indent=indent, allow_nan=False))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object, with None for NaN and infinities.

    Args:
        remedy: what to do about a file that is broken, for the error.

    Raises:
        UserError: the file cannot be read, or holds no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not whole ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, no object: {remedy}")
    return found


def printable(text: str) -> str:
    """Text with escapes for what is no Unicode, in the name of a file."""
    return text.encode(errors="backslashreplace").decode()


@cache
def tell_once(line: str) -> None:
    """Prints a line that several parts of a command have to say, such as all splits of data."""
    print(printable(line))


def finite(value: Any) -> Any:
    """Plain containers with None in place of every float that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
