"""Pairs as uint8 arrays that are memory-mapped, so that training never decodes an image."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.progress import open as open_with_progress
from rich.progress import track
from torch.utils.data import DataLoader, Dataset, Subset

from dbim_lightning.data.fingerprint import difference, origin
from dbim_lightning.data.packed_files import (
    CONTENTS,
    IMAGES,
    JOURNAL,
    MASKS,
    ORIGIN,
    read_contents,
    read_origin,
    read_records,
    sizes_of,
)
from dbim_lightning.data.pair import Pair
from dbim_lightning.errors import UserError
from dbim_lightning.files import write_json, writing
from dbim_lightning.pictures import to_uint8
from dbim_lightning.strangers import inert

FORMAT = 1
CHUNK = 64
UNREADABLE = (UserError, OSError, SyntaxError)  # which Pillow raises in data sets of one's own


class PackedPairs(Dataset):
    """What `pack` wrote: a folder per split, of which validation may be that of test.

    Args:
        split: train, validation or test.
        root: holds the folders.
        prepared_by: the command that makes them, for the error that asks for it.
        made_with: options that the pairs were made with, where the folder does not say it itself.

    Raises:
        UserError: no such folder, or one that is not whole.

    Attributes:
        files: what the pairs are read from.
        content_hash: of these, as they were written; None if an earlier version wrote them.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        prepared_by: str = "python -m dbim_lightning.data.pack",
        made_with: Mapping[str, Any] | None = None,
    ):
        folder = Path(root) / split
        if split == "validation" and not folder.exists():
            folder = Path(root) / "test"
        if not (folder / CONTENTS).is_file():
            raise UserError(f"no packed pairs in {folder}: make them with {prepared_by}")
        self.folder = folder
        self.files = [folder / IMAGES, folder / MASKS]
        self.contents = read_contents(folder)
        self.content_hash = self.contents.get("sha256")
        said = folder / ORIGIN
        self.made_with = read_origin(folder)["options"] if said.is_file() else made_with
        size = self.contents["image_size"]
        self._shape = (len(self), 2, 3, size, size)
        sizes = sizes_of(size, self.contents["hole"])
        for name, expected in ((name, len(self) * each) for name, each in sizes.items()):
            found = (folder / name).stat().st_size if (folder / name).is_file() else 0
            if (self.contents["format"], found) != (FORMAT, expected):
                raise UserError(
                    f"{folder / name} has {found} bytes, not the {expected} of format {FORMAT}: "
                    f"delete {folder} and make it again with {prepared_by}"
                )

    @property
    def settled(self) -> dict[str, Any]:
        """Options as they turned out to be, by which a bridge's data are told from others."""
        return {"made_with": inert(self.made_with)} if self.made_with else {}

    @property
    def num_classes(self) -> int:
        """That labels of this split need; 0 without labels."""
        return max(self.contents["labels"] or [-1]) + 1

    def __len__(self) -> int:
        return len(self.contents["names"])

    def __getitem__(self, index: int) -> Pair:
        x_0, x_T = torch.from_numpy(self._images[index].astype(np.float32)).div_(127.5).sub_(1)
        pair = Pair(x_0=x_0, x_T=x_T, index=index, name=self.contents["names"][index])
        if self.contents["labels"]:
            pair["label"] = self.contents["labels"][index]
        if self._masks is not None:
            pixels = np.unpackbits(self._masks[index], count=x_0[0].numel())
            pair["mask"] = torch.from_numpy(pixels.astype(np.float32)).view_as(x_0[:1])
            pair["x_T"] = x_T.masked_fill(pair["mask"].bool(), self.contents["hole"])
        return pair

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which a worker process opens itself."""
        return {k: v for k, v in vars(self).items() if k not in ("_images", "_masks")}

    @cached_property
    def _images(self) -> np.ndarray:
        return np.memmap(self.folder / IMAGES, np.uint8, "r", shape=self._shape)

    @cached_property
    def _masks(self) -> np.ndarray | None:
        if self.contents["hole"] is None:
            return None
        shape = (len(self), math.ceil(self._shape[-1] ** 2 / 8))
        return np.memmap(self.folder / MASKS, np.uint8, "r", shape=shape)


class _Encoded(Dataset):
    """Of each pair: its record, and the bytes of images and mask; of a broken one the reason."""

    def __init__(self, data: Dataset):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[dict, bytes, bytes]:
        try:
            pair = self.data[index]
        except UNREADABLE as error:
            where = "" if isinstance(error, UserError) else f"pair {index}: "
            return {"left_out": f"{where}{error}"}, b"", b""
        images = to_uint8(torch.stack([pair["x_0"], pair["x_T"]])).numpy().tobytes()
        mask = np.packbits(pair["mask"].numpy().astype(bool)).tobytes() if "mask" in pair else b""
        return _record(pair), images, mask


def pack(
    data: Dataset,
    folder: Path,
    workers: int = 0,
    skip_broken: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict:
    """Writes one split of square pairs; goes on where an earlier call was interrupted.

    Images keep 8 bits. A hole keeps its value exactly, which must be one for all pairs.

    Args:
        data: of `Pair`s; the same again for going on.
        folder: is there once all of it is written; nothing is done if it is there already.
        workers: processes that load images.
        skip_broken: leaves broken images out and lists them, rather than to stop at the first.
        options: that the data were made with, by name.

    Returns:
        What the folder holds: names, labels, image_size, hole, left_out, sha256.

    Raises:
        UserError: a broken image, pairs that differ in their size, no room on the disk, or a folder
            that is there, whole or in part, and was made with other options or from other files.
    """
    made_from = origin(data, options or {})
    if (folder / CONTENTS).is_file():
        _require_same(folder, made_from)
    else:
        part = folder.with_name(f"{folder.name}.part")
        if (part / JOURNAL).exists():
            _require_same(part, made_from)
        with writing(part):
            part.mkdir(parents=True, exist_ok=True)
            write_json(part / ORIGIN, made_from)
            records = _written_before(part, data)
            _append(part, data, records, workers, skip_broken)
            contents = _contents(records)
            write_json(part / CONTENTS, contents | {"sha256": _sha256(part)})
            os.sync()
            part.replace(folder)
            (folder / JOURNAL).unlink()
    return read_contents(folder)


def _require_same(folder: Path, made_from: dict[str, Any]) -> None:
    if not (folder / ORIGIN).is_file():
        raise UserError(
            f"{folder} does not say what it was made from (an earlier version packed it): choose "
            "another folder or delete it"
        )
    if found := difference(read_origin(folder), made_from):
        raise UserError(f"{folder} was {found}: choose another folder or delete it")


def _sha256(part: Path) -> str:
    """Of images and masks, one after the other."""
    digest = hashlib.sha256()
    for path in (part / IMAGES, part / MASKS):
        title, is_empty = f"Checking {path.name}", path.stat().st_size == 0
        with open_with_progress(path, "rb", description=title, disable=is_empty) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _written_before(part: Path, data: Dataset) -> list[dict]:
    """The records of an interrupted call; cuts off what it wrote without recording."""
    journal = part / JOURNAL
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    records, kept, sizes = read_records(journal, lines)
    last = kept[-1:]
    if len(records) > len(data) or any(data[records.index(r)]["name"] != r["name"] for r in last):
        raise UserError(f"{part} was begun with other data: delete it, or choose another folder")
    lengths = {JOURNAL: sum(len(line) + 1 for line in lines)}
    lengths |= {name: size * len(kept) for name, size in sizes.items()}
    for name in (IMAGES, MASKS, JOURNAL):
        with (part / name).open("ab") as file:
            file.truncate(lengths.get(name, 0))
    return records


def _append(
    part: Path, data: Dataset, records: list[dict], workers: int, skip_broken: bool
) -> None:
    """Writes the pairs that `records` lacks, and adds them to it."""
    rest = Subset(_Encoded(data), range(len(records), len(data)))
    loader = DataLoader(rest, CHUNK, num_workers=workers, collate_fn=list)
    with ExitStack() as stack:
        files = [stack.enter_context((part / name).open("ab")) for name in (IMAGES, MASKS, JOURNAL)]
        for chunk in track(loader, escape(f"Packing {part.with_suffix('')}"), len(loader)):
            for record, *content in chunk:
                if "left_out" in record and not skip_broken:
                    raise UserError(f"{record['left_out']}; or leave it out with --skip-broken")
                if not records:
                    _check_room(part, len(data) * len(content[0]))
                records.append(record)
                for file, value in zip(files, [*content, _line(record)], strict=True):
                    file.write(value)
            for file in files:
                file.flush()


def _line(record: dict) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _record(pair: Pair) -> dict:
    mask, holes = pair.get("mask"), []
    if mask is not None:
        holes = pair["x_T"][mask.bool().expand_as(pair["x_T"])].unique().tolist()
        if len(holes) > 1:
            raise UserError(f"{pair['name']} has a hole of several colours, which cannot be packed")
    return {
        "name": pair["name"],
        "label": pair.get("label"),
        "image_size": pair["x_0"].shape[-1],
        "hole": (holes or [0.0])[0] if mask is not None else None,
    }


def _contents(records: list[dict]) -> dict[str, Any]:
    kept = [record for record in records if "left_out" not in record]
    if not kept:
        raise UserError("every image is broken: " + records[0]["left_out"])
    common = {(record["image_size"], record["hole"], record["label"] is None) for record in kept}
    if len(common) > 1:
        raise UserError(f"pairs differ in size, hole or having a label: {sorted(common, key=str)}")
    return {
        "format": FORMAT,
        "image_size": kept[0]["image_size"],
        "hole": kept[0]["hole"],
        "names": [record["name"] for record in kept],
        "labels": None if kept[0]["label"] is None else [record["label"] for record in kept],
        "left_out": [record["left_out"] for record in records if "left_out" in record],
    }


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part).free
    if free < needed:
        raise UserError(
            f"{part} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB: make room "
            "or choose another folder"
        )
