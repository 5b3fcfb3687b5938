"""Archives of arrays and weights, looked at before anything in them is unpacked."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile

MOST, TIMES = 1 << 30, 100
UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError)
UNREADABLE += (OverflowError, zipfile.BadZipFile, zlib.error)


class Header(NamedTuple):
    """Of an array: what its file says, without its values."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


def require_no_bomb(archive: zipfile.ZipFile, size: int) -> None:
    """
    Raises:
        zipfile.BadZipFile: the archive, of so many bytes, unpacks to more than 1 GiB and to more
            than 100 times its size.
    """
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > max(MOST, TIMES * size):
        raise zipfile.BadZipFile(f"it would unpack to {unpacked / 1e9:,.1f} GB from {size:,} bytes")


@contextmanager
def opened_arrays(file: Path | IO[bytes]) -> Iterator[NpzFile]:
    """The arrays of an .npz file, none of which may hold objects.

    Raises:
        one of `UNREADABLE`: it is no such file, or a bomb; also on reading an array.
    """
    size = file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)
    if not isinstance(file, Path):
        file.seek(0)
    arrays = np.load(file, allow_pickle=False)
    if not isinstance(arrays, NpzFile):
        raise ValueError("a single array, no .npz")
    with arrays:
        require_no_bomb(arrays.zip, size)
        yield arrays


def header(arrays: NpzFile, name: str) -> Header:
    """Of one array, without reading it."""
    with arrays.zip.open(f"{name}.npy") as stream:
        return read_header(stream)


def read_header(stream: IO[bytes]) -> Header:
    """Of the array that begins here."""
    if np.lib.format.read_magic(stream) == (1, 0):
        return Header(*np.lib.format.read_array_header_1_0(stream))
    return Header(*np.lib.format.read_array_header_2_0(stream))


def array(arrays: NpzFile, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """One array, whose header must say this shape (-1 for any length) and type.

    Raises:
        ValueError: it says another one.
    """
    found = header(arrays, name)
    fits = len(found.shape) == len(shape) and all(
        wanted in (-1, side) for wanted, side in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype != dtype:
        raise ValueError(f"{name} is {found.dtype} {found.shape}, not {np.dtype(dtype)} {shape}")
    if math.prod(found.shape) * found.dtype.itemsize > arrays.zip.getinfo(f"{name}.npy").file_size:
        raise ValueError(f"{name} is cut short")
    return arrays[name]
