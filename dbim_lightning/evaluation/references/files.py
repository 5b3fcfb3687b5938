"""Files of reference statistics, in the published npz form: written, read and cached.

A file holds `mu` (d,) and `sigma` (d, d), mean and unbiased covariance of features; `act` (m, d),
features; `arr_0` (N, H, W, 3) uint8, images; or some of these. Files of this project add
`network`, `dataset`, `split`, `size` and `num_images`, and their `act` is a bounded number of
images spread evenly over all. Nothing is unpickled.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from dbim_lightning.archives import UNREADABLE, header, opened_arrays, read_header
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.moments import KEPT_IMAGES, KeptFeatures
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.references.statistics import (
    Reference,
    make_reference,
    numbered,
    statistics_of,
)
from dbim_lightning.files import whole

_ROWS = 64  # read at a time


def read_reference(
    path: str | Path, network: FeatureNetwork, size: int, device: torch.device | str
) -> Reference:
    """Statistics in a file: from `mu` and `sigma`, as published code does; else from `act`; else
    from its images, by the network. Beside `mu` and `sigma` without `act` there is no KID.

    Args:
        network: that the features are of.
        size: height and width of the images that are evaluated.
        device: where the network runs, if it has to.

    Raises:
        UserError: if the file cannot be read, lacks all of these, or is of another network, size
            or number of features, as far as it says.
    """
    with _open(path) as file:
        _check_origin(file, {"network": network.name, "size": size})
        shapes = _checked_shapes(file, network.num_features, size)
        if {"mu", "sigma"} <= shapes.keys():
            return _stored(file)
        if "act" in shapes:
            return statistics_of(_rows(file, "act"), shapes["act"][0], network.num_features)
        images = (rows.permute(0, 3, 1, 2) for rows in _rows(file, "arr_0"))
        return make_reference(images, shapes["arr_0"][0], network, device)


def write_reference(path: str | Path, reference: Reference, origin: dict[str, Any]) -> None:
    """Writes `mu`, `sigma`, `act` and each entry of `origin`: a text or number.

    Args:
        origin: what `read_reference` compares, `network` and `size`, and what else tells it apart.
    """
    arrays = {"mu": reference.mean, "sigma": reference.covariance, "act": reference.features}
    arrays = {name: array.numpy() for name, array in arrays.items() if array is not None}
    with whole(Path(path)) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **origin)


def cached_reference(
    folder: str | Path,
    key: dict[str, Any],
    make: Callable[[], Reference],
    at_most: int = KEPT_IMAGES,
) -> Reference:
    """What `make` returns, kept in a file of the folder whose name is a hash of the key.

    Args:
        key: all that the statistics depend on, texts and numbers: a fingerprint of the
            `images`, their `origin`, `size`, `network`, `num_images`.
        at_most: images whose features are read.

    Raises:
        UserError: if the file of this key is broken.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(folder) / f"reference-{digest}.npz"
    if not path.exists():
        write_reference(path, make(), key)
    with _open(path) as file:
        return _stored(file, at_most)


@contextmanager
def _open(path: str | Path) -> Iterator[NpzFile]:
    """The file, whose errors become one `UserError` that names it."""
    try:
        with opened_arrays(Path(path)) as file:
            yield file
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise UserError(f"no reference statistics at {path}: give the path of an .npz") from error
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path} cannot be read ({reason}): delete it or put a whole npz of reference "
            "statistics there"
        ) from error


def _check_origin(file: NpzFile, wanted: dict[str, Any]) -> None:
    """Files of other projects do not say where they come from."""
    for name, value in wanted.items():
        if name in file and file[name].item() != value:
            raise UserError(
                f"statistics of {name} {file[name].item()}, not {value}: "
                f"choose a reference of {name} {value}"
            )


def _checked_shapes(file: NpzFile, d: int, size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of those of the four arrays that the file has, which must be enough."""
    found = {name: header(file, name) for name in ("mu", "sigma", "act", "arr_0") if name in file}
    if not ({"mu", "sigma"} <= found.keys() or {"act", "arr_0"} & found.keys()):
        raise UserError(
            "neither mu and sigma nor act nor arr_0 in it: "
            "choose an npz of reference statistics or images"
        )
    for name, (shape, _, dtype) in found.items():
        n = shape[:1]
        wanted = {"mu": (d,), "sigma": (d, d), "act": (*n, d), "arr_0": (*n, size, size, 3)}[name]
        if shape != wanted or (name == "arr_0" and dtype != np.uint8):
            raise UserError(
                f"{name} is {dtype} {shape}, not {'uint8 ' * (name == 'arr_0')}{wanted}: "
                f"choose a reference for {d} features and images of {size} px"
            )
    return {name: shape for name, (shape, *_) in found.items()}


def _stored(file: NpzFile, at_most: int = KEPT_IMAGES) -> Reference:
    """From mu and sigma, and a bounded number of rows of act."""
    mean, cov = (torch.from_numpy(file[name]).double() for name in ("mu", "sigma"))
    if not (mean.isfinite().all() and cov.isfinite().all()):
        raise UserError("mu or sigma hold NaN or infinity: choose another reference")
    if cov.diagonal().min() < 0:
        raise UserError("sigma is no covariance, it has a negative variance: choose another file")
    if "act" not in file:
        return Reference(mean, cov, None)
    kept = KeptFeatures(header(file, "act").shape[0], len(mean), at_most)
    for position, rows in numbered(_rows(file, "act")):
        kept.update(position, rows)
    return Reference(mean, cov, kept.rows)


def _rows(file: NpzFile, name: str) -> Iterator[Tensor]:
    """An array in blocks of rows, of which one is in memory at a time."""
    with file.zip.open(f"{name}.npy") as stream:
        shape, by_columns, dtype = read_header(stream)
        if by_columns:
            raise UserError(f"{name} is stored by columns: save np.ascontiguousarray of it")
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        for start in range(0, shape[0], _ROWS):
            wanted = min(_ROWS, shape[0] - start) * row_bytes
            if len(data := stream.read(wanted)) < wanted:
                raise ValueError(f"{name} is cut short")
            yield torch.from_numpy(np.frombuffer(bytearray(data), dtype).reshape(-1, *shape[1:]))
