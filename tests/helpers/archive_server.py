"""A web server on the loopback address that breaks as told, and archives made of bytes."""

import io
import tarfile
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
from PIL import Image


class Request(NamedTuple):
    path: str
    range: str | None
    sent: int


class ArchiveServer:
    """Serves `files`; each of `breaks` ends one response after so many bytes.

    `has_ranges` says whether it knows the Range header, and `stalls` whether it keeps a broken
    connection open; `broken` is set once one broke.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.has_ranges, self.stalls = True, False
        self.requests: list[Request] = []
        self.broken, self._closing = Event(), Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/"

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.files.get(handler.path.removeprefix("/").partition("?")[0])
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.has_ranges:
            start = 0
        if content is None or start >= len(content):
            handler.send_response(404 if content is None else 416)
            if content is not None:
                handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            self.requests.append(Request(handler.path, asked, 0))
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        end = start + self.breaks.pop(0) if self.breaks else len(content)
        part = content[start:end]
        self.requests.append(Request(handler.path, asked, len(part)))
        handler.end_headers()
        handler.wfile.write(part)
        if end < len(content):
            self.broken.set()
            if self.stalls:
                self._closing.wait()

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with suppress(ConnectionError):
                    server.answer(self)

            def log_message(self, *_):
                pass

        return Handler


def tar_bytes(members: dict[str, bytes | tarfile.TarInfo], compression: str = "gz") -> bytes:
    """name -> content, or a member that is no plain file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link, a device or a folder."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def snapshot(folder: Path) -> dict[str, tuple]:
    """What is below a folder; equal only where nothing has been written again."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[path.relative_to(folder).as_posix()] = (state.st_ino, state.st_mtime_ns)
    return found


def encoded(pixels: np.ndarray, suffix: str = "jpg") -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    return buffer.getvalue()
