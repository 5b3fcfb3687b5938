"""Holes of free form: drawn from an image's index, or read from the published file."""

import cmath
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from dbim_lightning.archives import UNREADABLE, array, header, opened_arrays
from dbim_lightning.errors import UserError

Coverage = tuple[float, float]
PUBLISHED_SIZE = 256


def draw_mask(index: int, size: int, coverage: Coverage) -> Tensor:
    """Brush strokes that cover a share of the image within `coverage`.

    Strokes are between 5% and 16% of the size wide and wander; the last one ends where the share,
    drawn evenly from the range, is reached.

    Returns:
        (1, size, size) float32, 1 in the hole; it depends on the arguments alone.

    Raises:
        UserError: a range that is not within 0 and 1 or less than 0.05 wide.
    """
    low, high = coverage
    if not (0 <= low < high <= 1 and high - low > 0.04):
        raise UserError(f"coverage=[{low}, {high}]: give two shares of 1, more than 0.04 apart")
    rng = Random(index)
    margin = size // 4
    covered = np.ones((size + 2 * margin, size + 2 * margin), bool)  # outside counts as covered
    image = covered[margin : margin + size, margin : margin + size]
    image[:] = False
    missing = rng.uniform(low, high - 0.03) * size**2  # one dab covers up to 0.02
    while missing > 0:
        missing -= _draw_stroke(covered, margin, size, missing, rng)
    return torch.from_numpy(image.astype(np.float32))[None]


def _draw_stroke(covered: np.ndarray, margin: int, size: int, missing: float, rng: Random) -> int:
    """Draws one stroke in dabs of half a radius apart; returns the number of pixels it adds."""
    radius = size * rng.uniform(0.025, 0.08)
    brush = _disc(radius)
    place = complex(rng.uniform(0, size), rng.uniform(0, size))
    direction, added = rng.uniform(-cmath.pi, cmath.pi), 0
    for _ in range(round(size * rng.uniform(0.5, 1.5) / radius)):
        row, column = (int(x) + margin - len(brush) // 2 for x in (place.real, place.imag))
        window = covered[row : row + len(brush), column : column + len(brush)]
        added += np.count_nonzero(brush & ~window)
        window |= brush
        direction += rng.uniform(-0.5, 0.5)
        place += cmath.rect(radius / 2, direction)
        if added >= missing or not (0 <= place.real < size and 0 <= place.imag < size):
            break
    return added


def _disc(radius: float) -> np.ndarray:
    offset = np.arange(-int(radius), int(radius) + 1)
    return offset[:, None] ** 2 + offset**2 <= radius**2


def read_mask(path: str, index: int, size: int, coverage: Coverage) -> Tensor:
    """Mask number `index` of `imagenet_freeform_masks.npz`; after the last comes the first again.

    The file is that of Palette (arXiv 2111.05826), also taken by I2SB: 10,000 masks each under
    "10-20% freeform", "20-30% freeform" and "30-40% freeform", as bits.

    Returns:
        (1, 256, 256) float32, 1 in the hole.

    Raises:
        UserError: another size, no such file, or no masks of this coverage in it.
    """
    if size != PUBLISHED_SIZE:
        raise UserError(f"image_size={size}: the masks of {path} are for {PUBLISHED_SIZE}")
    low, high = (round(100 * share) for share in coverage)
    masks = _load_masks(path, f"{low}-{high}% freeform")
    pixels = np.unpackbits(masks[index % len(masks)]).reshape(1, size, size)
    return torch.from_numpy(pixels.astype(np.float32))


@cache
def _load_masks(path: str, key: str) -> np.ndarray:
    """The masks of one coverage, a row of bytes for each."""
    try:
        with opened_arrays(Path(path)) as masks:
            if key not in masks:
                raise UserError(f"{path} has no {key!r}, only {list(masks)}: change the coverage")
            shape = header(masks, key).shape
            found = array(masks, key, shape, np.uint8).reshape(-1, PUBLISHED_SIZE**2 // 8)
            if len(found) == 0:
                raise ValueError(f"{key} is empty")
            return found
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot read the masks in {path} ({error}): check mask_file") from error
