"""What tells data apart: the files that they are read from, or else their images."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import track
from torch.utils.data import Dataset, Subset

from dbim_lightning.data.subset import spread
from dbim_lightning.errors import UserError
from dbim_lightning.files import finite
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
    """Each of the `files` of the data, if it has them -> size in bytes, and two times in ns.

    They are that of its content and that of any change to it, such as `cp -p` of another over it.
    """
    files = getattr(data, "files", ())
    if not all(isinstance(path, Path) for path in files):
        return {}
    shown = track(files, "Looking at the files", disable=len(files) < _MANY)
    return {str(path): _stamp(path) for path in shown}


def origin(data: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a copy of the data is made from, in JSON's types: options, number of pairs, files."""
    made_from = {"options": options, "pairs": len(data), "files": stamps(data)}
    return json.loads(json.dumps(finite(made_from)))


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How two origins differ, such as "made with image_size=64, now 32"; empty if they do not.

    Of the same options, it names the files that differ.
    """
    old, new = before["options"], now["options"]
    keys = [key for key in old | new if old.get(key) != new.get(key)]
    if keys:
        return "made with " + ", ".join(f"{key}={old.get(key)}, now {new.get(key)}" for key in keys)
    old, new = before["files"], now["files"]
    changes = {
        "removed": old.keys() - new.keys(),
        "added": new.keys() - old.keys(),
        "changed": [name for name in old.keys() & new.keys() if old[name] != new[name]],
    }
    told = [f"{what} ({_first(names)})" for what, names in changes.items() if names]
    if told:
        return f"made before files were {', '.join(told)}"
    same = before["pairs"] == now["pairs"]
    return "" if same else f"made of {before['pairs']} pairs, now {now['pairs']}"


def _first(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"no file {path} ({error.strerror}): the data changed, run the command again"
        ) from error
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _known(data: Dataset) -> Any:
    """What tells the images apart without reading them, or None."""
    if isinstance(data, Subset):
        whole = _known(data.dataset)
        return None if whole is None else [whole, [int(index) for index in data.indices]]
    return getattr(data, "content_hash", None) or stamps(data) or None
