"""Which values of images with more than 8 bits become black and white: one range for all files."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from rich.markup import escape
from rich.progress import track

from dbim_lightning.data.images import SIXTEEN_BITS, Span, is_deep, may_be_deep, opened
from dbim_lightning.errors import UserError
from dbim_lightning.files import tell_once

Choice = Literal["auto", "8bit", "16bit", "minmax"]
Range = Choice | Sequence[float]
EIGHT_BITS: Span = (0, 255)
MANY = 2_000


def require_range(how: Range) -> None:
    """Refuses a range that is neither a known word nor two rising numbers.

    Raises:
        UserError: as said.
    """
    if isinstance(how, str):
        if how not in get_args(Choice):
            raise UserError(
                f"dataset.range={how} does not exist: choose {', '.join(get_args(Choice))}, or two "
                "numbers, such as [0,9000]"
            )
    elif not _is_span(how):
        raise UserError(f"dataset.range={how}: give two rising numbers, such as [0,9000]")


def _is_span(how: object) -> bool:
    is_list = isinstance(how, Sequence) and len(how) == 2
    numbers = is_list and all(isinstance(end, int | float) and math.isfinite(end) for end in how)
    return numbers and how[0] < how[1]


def span_of(files: Sequence[Path], how: Range, what: str, check: bool = True) -> Span | None:
    """The values that become black and white in all of these files; tells them.

    Only images with one channel of more than 8 bits are looked at; others are 0 to 255 always, and
    where there are no such images, it is None.

    Args:
        files: of one data set, all splits; broken ones are passed over.
        how: "8bit" for 0 to 255, "16bit" for the upper 8 of 16 bits, "minmax" for the lowest and
            highest of all files, two numbers, or "auto": of whole numbers from 0 "8bit" if none is
            above 255, and "16bit" if one is above 32767 and none above 65535; else "minmax".
        what: the files are, in words.
        check: refuses values that are no numbers; else such files are passed over, too.

    Raises:
        UserError: a value that is no number, or one value alone for "minmax".
    """
    looked_at = [path for path in files if may_be_deep(path)]
    found = {}
    for path in track(looked_at, escape(f"Values of {what}"), disable=len(looked_at) < MANY):
        try:
            stat = path.stat()
            found[path] = _extremes(path, stat.st_size, stat.st_mtime_ns)
        except (OSError, _Broken):
            continue
    for path, extremes in found.items():
        if check and extremes is not None and not extremes.is_finite:
            raise UserError(f"{path} has values that are no numbers: repair or remove it")
    others = len(files) - len(looked_at) + sum(one is None for one in found.values())
    found = [one for one in found.values() if one is not None and one.is_finite]
    if not found:
        return None
    low, high = min(one.low for one in found), max(one.high for one in found)
    is_whole = not any(one.is_float for one in found)
    span = _chosen(how, low, high, is_whole, what)
    outside = sum(one.low < span[0] or one.high > span[1] for one in found)
    plain = f"; {others:,} files of 8 bits are 0 to 255" if others else ""
    clipped = f"; {outside:,} files have values outside, which are clipped" if outside else ""
    tell_once(
        f"{what}: {len(found):,} files of more than 8 bits, {low:g} to {high:g}; {span[0]:g} "
        f"becomes black and {span[1]:g} white{clipped}{plain} (the same for other data: "
        f"dataset.range=[{span[0]:g},{span[1]:g}])"
    )
    return span


def _chosen(how: Range, low: float, high: float, is_whole: bool, what: str) -> Span:
    if not isinstance(how, str):
        return tuple(how)
    if how == "auto":
        is_small = is_whole and low >= 0 and high <= EIGHT_BITS[1]
        is_full = is_whole and low >= 0 and SIXTEEN_BITS[1] // 2 < high <= SIXTEEN_BITS[1]
        how = "8bit" if is_small else "16bit" if is_full else "minmax"
    if how == "minmax" and not low < high:
        raise UserError(f"{what} have the value {low:g} alone: give dataset.range=[LOW,HIGH]")
    return {"8bit": EIGHT_BITS, "16bit": SIXTEEN_BITS, "minmax": (low, high)}[how]


class _Extremes(NamedTuple):
    low: float
    high: float
    is_float: bool

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


class _Broken(Exception):
    """A file that whoever reads it will name."""


@cache
def _extremes(path: Path, size: int, changed: int) -> _Extremes | None:
    """Lowest and highest value of a file as it was changed last; None if it has but 8 bits."""
    try:
        with opened(path) as image:
            if not is_deep(image):
                return None
            values, is_float = np.asarray(image), image.mode == "F"
    except UserError as error:
        raise _Broken from error
    return _Extremes(float(values.min()), float(values.max()), is_float)
