"""Files that are broken, or made to fill memory, to run code or to call what they like."""

import copy
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dbim_lightning.archives import MOST
from dbim_lightning.weights import CONFIG_KEY

CHUNK = 1 << 20


class Bomb:
    """Runs code as it is unpickled."""

    def __reduce__(self):
        return Path("ran").touch, ()


def naming(content: dict, path: Path, place: str, node: Any) -> Path:
    """A checkpoint, or weights file by its suffix, with another node in its configuration."""
    changed = copy.deepcopy(content[CONFIG_KEY])
    *parents, last = place.split(".")
    inside = changed
    for key in parents:
        inside = inside.setdefault(key, {})
    inside[last] = node
    if path.suffix == ".safetensors":
        weights = {
            key.removeprefix("denoiser.network."): value
            for key, value in content["current_model_state"].items()
        }
        save_file(weights, path, {CONFIG_KEY: json.dumps(changed), "step": "1"})
    else:
        torch.save({**content, CONFIG_KEY: changed}, path)
    return path


def zip_bomb(path: Path, name: str, size: int = MOST + 1) -> Path:
    """A file of a MB that unpacks to a GiB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as file,
    ):
        for _ in range(size // CHUNK + 1):
            file.write(bytes(CHUNK))
    return path


def npy(descr: str, shape: tuple[int, ...]) -> bytes:
    """The header of an array, and nothing of it."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 128) + (text.ljust(127) + "\n").encode()


def hostile_arrays(folder: Path) -> Iterator[Path]:
    """Files of arr_0 that are no uint8 images: objects, headers that lie, none."""
    np.savez(folder / "objects.npz", arr_0=np.array([Bomb()], object))
    yield folder / "objects.npz"
    for name, shape in (("header", (2, 4, 4, 3)), ("huge", (1 << 40, 1_000_000, 3))):
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
            archive.writestr("arr_0.npy", npy("|u1", shape) + b"short")
        yield folder / f"{name}.npz"
    (folder / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
    yield folder / "pickle.npz"
    (folder / "none.npz").write_bytes(b"PK\x03\x04")
    yield folder / "none.npz"
    np.save((folder / "single.npy"), np.zeros(3))
    yield (folder / "single.npy").rename(folder / "single.npz")


def huge_png(path: Path) -> Path:
    """60,000 x 60,000 pixels, in a file of a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    return path
