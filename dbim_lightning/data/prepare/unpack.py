"""Unpacks archives that nobody has vouched for, and goes on where it was interrupted."""

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

from rich.markup import escape
from rich.progress import open as open_with_progress

from dbim_lightning.archives import require_no_bomb
from dbim_lightning.errors import UserError
from dbim_lightning.files import whole, writing

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, BadGzipFile, zlib.error, LZMAError, EOFError)
CHUNK = 1 << 20
BEGUN = ".unpacking"
LEVELS = 2  # of tars in one another: ImageNet's has one for each class


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    size: int
    is_plain: bool  # no link, no device
    open: Callable[[], BinaryIO]


def unpack(archive: Path, folder: Path, place: Callable[[str], str | None]) -> None:
    """Writes the files of a tar (compressed or not) or zip archive below `folder`, once.

    Each file is written beside its place and renamed; those that are there in the right size are
    kept. A tar in a tar counts as a folder of its name. An archive that is refused has what this
    call wrote taken back; one that is interrupted, or for which the disk is too small, goes on.

    Args:
        place: The name of a member -> where it goes, from `folder`, or None to leave it out.

    Raises:
        UserError: A damaged archive, a member that is a link or would leave the folder, tars too
            deep in one another, no room.
    """
    if is_unpacked(archive.name, folder):
        return
    begun, written = folder / f".{archive.name}{BEGUN}", []
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not begun.exists():
            written.append(begun.name)
        begun.write_text(str(archive.stat().st_size))
        try:
            with _one_line_read_errors(archive):
                for member in _members(archive):
                    _require_harmless(member, archive)
                    target = place(member.name)
                    if target is not None and not _is_there(member, folder / target):
                        _require_room(member, folder)
                        written.append(target)
                        _write(member, folder / target)
        except UserError as error:
            if getattr(error.__cause__, "errno", None) is None:  # not of the disk
                _take_back(written, folder, made)
            raise
        os.sync()
        begun.replace(_marker(archive.name, folder))


def is_unpacked(name: str, folder: Path) -> bool:
    """Whether all of the archive of this name has been written below `folder`."""
    return _marker(name, folder).exists()


def require_same(archive: Path, folder: Path) -> None:
    """
    Raises:
        UserError: All of an archive of this name, but of another size, has been written below
            `folder`.
    """
    marker, size = _marker(archive.name, folder), archive.stat().st_size
    before = marker.read_text() if marker.exists() else ""
    if before.isdecimal() and int(before) != size:  # earlier versions wrote no size
        raise UserError(
            f"{folder} holds the files of another {archive.name}, of {int(before):,} bytes and "
            f"not the {size:,} of {archive}: delete that folder or choose another --root"
        )


def unfinished(folder: Path) -> list[str]:
    """The archives that have been written below `folder` in part."""
    names = (path.name for path in folder.glob(f".*{BEGUN}"))
    return sorted(name.removeprefix(".").removesuffix(BEGUN) for name in names)


def _marker(name: str, folder: Path) -> Path:
    return folder / f".{name}.unpacked"


@contextmanager
def _one_line_read_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise UserError(
            f"{archive} is damaged or cut short ({type(error).__name__}): delete it, and download "
            "or copy it again"
        ) from error


def _members(archive: Path) -> Iterator[Member]:
    with open_with_progress(archive, "rb", description=escape(f"Unpacking {archive.name}")) as file:
        if archive.suffix == ".zip":
            yield from _zip_members(file, archive.stat().st_size)
        else:
            yield from _tar_members(file, archive)


def _zip_members(file: BinaryIO, size: int) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        require_no_bomb(archive, size)
        for info in archive.infolist():
            if not info.is_dir():
                kind = stat.S_IFMT(info.external_attr >> 16)
                is_plain = kind in (0, stat.S_IFREG)
                opener = partial(archive.open, info)
                yield Member(info.filename, info.file_size, is_plain, opener)


def _tar_members(file: BinaryIO, path: Path, level: int = 1) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:*") as archive:
        for info in archive:
            if info.isreg() and info.name.endswith(".tar"):
                if level == LEVELS:
                    raise UserError(
                        f"{path}: its member {info.name!r} is a tar in a tar in a tar: do not use "
                        "this archive, get another"
                    )
                for inner in _tar_members(archive.extractfile(info), path, level + 1):
                    yield inner._replace(name=f"{info.name.removesuffix('.tar')}/{inner.name}")
            elif not info.isdir():
                opener = partial(archive.extractfile, info)
                yield Member(info.name, info.size, info.isreg(), opener)
        # tarfile takes an archive for whole that lacks the block at its end.
        if archive.fileobj.tell() < archive.offset + tarfile.BLOCKSIZE:
            raise EOFError
        while archive.fileobj.read(CHUNK):  # to the end, where the checksum of gzip stands
            pass


def _require_harmless(member: Member, archive: Path) -> None:
    path = PureWindowsPath(member.name)  # both kinds of slash, and drives
    if path.anchor or ".." in path.parts or "\0" in member.name or not member.is_plain:
        what = "would leave its folder" if member.is_plain else "is a link or a device"
        raise UserError(
            f"{archive}: its member {member.name!r} {what}: do not use this archive, get another"
        )


def _require_room(member: Member, folder: Path) -> None:
    if member.size > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"{member.name} unpacks to {member.size / 1e9:,.1f} GB, but the disk of {folder} has "
            f"{free / 1e9:,.1f} GB: make room, or do not use this archive"
        )


def _is_there(member: Member, target: Path) -> bool:
    return target.is_file() and target.stat().st_size == member.size


def _write(member: Member, target: Path) -> None:
    with member.open() as source, whole(target, flush=False) as beside, beside.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)


def _take_back(written: Iterable[str], folder: Path, made: Iterable[Path]) -> None:
    """Deletes files, and the folders that are empty without them; of `folder` and those above it
    only the ones that were made."""
    emptied = set()
    for name in written:
        (folder / name).unlink(missing_ok=True)  # the last may not have come to be
        emptied.update(folder / parent for parent in Path(name).parents[:-1])
    for path in [*sorted(emptied, reverse=True), *made]:
        with suppress(OSError):  # it holds something else
            path.rmdir()
