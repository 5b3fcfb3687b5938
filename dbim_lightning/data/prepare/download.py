"""Archives from the web, or files that are there; a broken download goes on where it stopped."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch
import requests
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import open as open_with_progress

from dbim_lightning.errors import UserError
from dbim_lightning.files import writing

TIMEOUTS = (20, 60)  # seconds to connect, and to wait for bytes
TRIES = 5  # in a row that bring nothing
WAIT = 1.0  # seconds after the first of them, doubled after each
CHUNK = 1 << 16  # bytes; a connection that breaks loses at most one


@dataclass(frozen=True)
class Archive:
    """A file of a data set, which is made without it if it is optional."""

    name: str
    url: str
    md5: str | None = None
    optional: bool = False


def fetch(
    archive: Archive,
    folder: Path,
    urls: Sequence[str] = (),
    given: Mapping[str, Path] | None = None,
) -> Path:
    """The given file of this name, or else a download into `folder` unless it is there.

    Args:
        urls: Of mirrors: one that ends in the name of the archive, or in / for all archives.
        given: File name -> file.

    Raises:
        UserError: No such file on the server, no connection, no room, or a wrong MD5.
    """
    path = (given or {}).get(archive.name)
    if path is None:
        path = folder / archive.name
        with writing(path):
            _download(_address(archive, urls), path)
    if archive.md5:
        check_md5(path, archive.md5)
    return path


def check_md5(path: Path, expected: str) -> None:
    """
    Raises:
        UserError: The file has another MD5.
    """
    with open_with_progress(path, "rb", description=escape(f"Checking {path.name}")) as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise UserError(
            f"{path} has the MD5 {found}, not {expected}: delete it, and download or copy it again"
        )


def fits(url: str, archive: Archive) -> bool:
    """Whether a mirror has this archive."""
    return url.endswith("/") or PurePosixPath(urlsplit(url).path).name == archive.name


def _address(archive: Archive, urls: Sequence[str]) -> str:
    for url in urls:
        if fits(url, archive):
            return url + archive.name if url.endswith("/") else url
    return archive.url


def _download(url: str, path: Path) -> None:
    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(path.parent, url, registry={path.name: None}, urls={path.name: url})
    part = path.with_name(f"{path.name}.part")
    store.fetch(path.name, downloader=partial(_continue, part=part))


def _continue(url: str, output_file: str, _store: pooch.Pooch, part: Path) -> None:
    """A downloader for pooch, which keeps what has arrived in `part`."""
    failures = 0
    while failures < TRIES:
        if failures:
            time.sleep(WAIT * 2 ** (failures - 1))
        before = _size(part)
        try:
            _request_rest(url, part)
        except requests.RequestException as error:
            failures = 1 if _size(part) > before else failures + 1
            reason = type(error).__name__
        else:
            part.replace(output_file)
            return
    raise UserError(
        f"{url} cannot be read ({reason}): run the same command again, which goes on from here, or "
        "give a mirror with --url or the file with --archive"
    )


def _request_rest(url: str, part: Path) -> None:
    """One request for what `part` lacks; a server that knows no ranges sends it all again."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        status, found = response.status_code, response.headers.get("Content-Range", "")
        if (status, found) == (416, f"bytes */{have}"):
            return
        if status == 416 or (status == 206 and not found.startswith(f"bytes {have}-")):
            part.unlink()
            raise requests.ConnectionError(f"{url} has no bytes from {have} on")
        if status in range(400, 500):
            raise UserError(
                f"{url} answers {status} {response.reason}: give a mirror with --url "
                "or the file with --archive"
            )
        response.raise_for_status()
        _write(response, part, have if status == 206 else 0)


def _write(response: requests.Response, part: Path, have: int) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else have + int(length)
    columns = "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with (
        part.open("ab" if have else "wb") as file,
        Progress(*columns, TimeRemainingColumn()) as progress,
    ):
        task = progress.add_task(f"Downloading {part.stem}", total=total, completed=have)
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            progress.update(task, advance=len(chunk))
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f"{_size(part)} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
