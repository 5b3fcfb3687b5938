"""What tells data apart: the files that they are read from, or else their images."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.progress import track
from torch.utils.data import Dataset, Subset

from dbim_lightning.data.subset import spread
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import to_uint8

_FEW, _MANY = 4, 20_000


def fingerprint(data: Dataset) -> str:
    """A hash that changes with any target image, and with how images are decoded.

    Of packed pairs it takes the content that was packed; of another data set with `files` (paths of
    all that its targets are read from) their names, sizes and times; of any other all targets.
    Which options a data set was made with is not in it, beyond what a few of its images show.

    Raises:
        UserError: a file that is gone.
    """
    known = _known(data)
    digest = hashlib.sha256(json.dumps(known).encode())
    seen = data if known is None else spread(data, min(_FEW, len(data)))
    for i in track(range(len(seen)), "Reading the targets", disable=known is not None):
        digest.update(to_uint8(seen[i]["x_0"]).numpy().tobytes())
    return digest.hexdigest()


def stamps(data: Dataset) -> dict[str, list[int]]:
    """Each of the `files` of the data, if it has them -> size in bytes, time of change in ns."""
    files = getattr(data, "files", ())
    if not all(isinstance(path, Path) for path in files):
        return {}
    shown = track(files, "Looking at the files", disable=len(files) < _MANY)
    return {str(path): _stamp(path) for path in shown}


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"no file {path} ({error.strerror}): the data changed, start again"
        ) from error
    return [stat.st_size, stat.st_mtime_ns]


def _known(data: Dataset) -> Any:
    """What tells the images apart without reading them, or None."""
    if isinstance(data, Subset):
        whole = _known(data.dataset)
        return None if whole is None else [whole, [int(index) for index in data.indices]]
    return getattr(data, "content_hash", None) or stamps(data) or None
