"""Values of a configuration, as the annotations of whoever takes them say: type and range."""

import math
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dbim_lightning.errors import UserError

YES, NO = ("true", "yes", "on"), ("false", "no", "off")
LARGEST_WHOLE = 2**53  # up to which a float is exact
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


@dataclass(frozen=True)
class Range:
    """In `Annotated`: the lowest value, the highest, and whether the lowest is left out."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"{'above' if self.above else 'from'} {self.low:.10g} to {self.high:.10g}"
        return f"above {self.low:.10g}" if self.above else f"{self.low:.10g} or more"


@dataclass(frozen=True)
class Only:
    """In `Annotated`: the one value that works here, and why."""

    value: Any
    why: str


@dataclass(frozen=True)
class Some:
    """In `Annotated`: of a list, that it holds something."""


@dataclass(frozen=True)
class Since:
    """In `Annotated`: why other values are refused."""

    why: str


def converted(key: str, value: Any, annotation: Any) -> Any:
    """A value as its annotation says.

    Converted is what can mean one thing alone: `off` where true or false is asked for, 5.0 and "5"
    where a whole number is. Annotations of anything but plain values are not looked at.

    Args:
        key: of the value, for the error.
        value: plain: a number, text, list, or None.
        annotation: bool, int, float, str, Path, None, Literal, lists of them, unions of them, and
            Annotated with a `Range`, `Only`, `Some` or `Since`.

    Raises:
        UserError: a value of another type, out of range, or not finite.
    """
    try:
        return _fitting(value, annotation)
    except _Misfit as misfit:
        raise UserError(f"{key}={shown(value)}: {misfit}") from None


def shown(value: Any) -> str:
    """As on the command line."""
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


class _Misfit(Exception):
    """What to give instead."""


def _fitting(value: Any, annotation: Any) -> Any:
    kind, choices = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return _within(value, *choices)
    if kind in (Union, types.UnionType):
        return _of_union(value, choices)
    if kind is Literal:
        texts = {str(choice).lower(): choice for choice in choices}
        if str(value).lower() not in texts:
            raise _Misfit(f"choose {', '.join(map(str, choices))}")
        return texts[str(value).lower()]
    if kind in (list, tuple, Sequence, Iterable):
        return _of_list(value, choices)
    return _plain(value, kind) if kind in WORDS or kind is None else value


def _plain(value: Any, kind: Any) -> Any:
    """A value as one of `WORDS`."""
    kind = type(None) if kind is None else kind
    text = str(value).strip().lower()
    if kind is bool and text in (*YES, "1", *NO, "0"):
        return text in (*YES, "1")
    number = _number(value, kind) if kind in (int, float) else None
    if number is not None:
        return number
    if kind in (str, Path) and isinstance(value, str | Path | int | float) and text:
        return str(value)
    if kind is type(None) and value is None:
        return None
    raise _Misfit(f"give {WORDS[kind]}")


def _number(value: Any, kind: type) -> int | float | None:
    """A number, or text of one, as a whole number or float; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if kind is int and isinstance(value, int):
        return value
    try:
        number = float(value)
    except ValueError:
        return None
    if kind is float:
        return number if math.isfinite(number) else None
    return int(number) if number.is_integer() and abs(number) < LARGEST_WHOLE else None


def _of_list(value: Any, choices: tuple) -> list:
    if not isinstance(value, list | tuple):
        raise _Misfit("give a list, such as [1,2]")
    if len(choices) == 2 and choices[1] is Ellipsis:
        choices = choices[:1]
    if len(choices) > 1 and len(choices) != len(value):
        raise _Misfit(f"give {len(choices)} values")
    kinds = choices if len(choices) > 1 else (choices or (Any,)) * len(value)
    return [_fitting(item, kind) for item, kind in zip(value, kinds, strict=True)]


def _of_union(value: Any, choices: tuple) -> Any:
    """As the first choice whose type it has already, else as the first that it converts to."""
    is_scalar = isinstance(value, bool | int | float | str)
    if is_scalar and Any not in choices:
        choices = tuple(choice for choice in choices if _is_plain(choice)) or choices
    misfits = []
    for is_exact in (True, False):
        for choice in choices:
            try:
                fitting = _fitting(value, choice)
            except _Misfit as misfit:
                misfits.append(str(misfit))
                continue
            if not is_exact or type(fitting) is type(value):
                return fitting
    raise _Misfit(", or ".join(dict.fromkeys(misfits)).replace("or give ", "or "))


def _is_plain(annotation: Any) -> bool:
    """Whether texts and numbers may be of it."""
    kind = get_origin(annotation) or annotation
    return kind in (*WORDS, None, Literal, Annotated, Union, types.UnionType)


def _within(value: Any, annotation: Any, *limits: Any) -> Any:
    try:
        fitting = _fitting(value, annotation)
        for limit in limits:
            _require(fitting, annotation, limit)
    except _Misfit as misfit:
        reasons = [f"; {limit.why}" for limit in limits if isinstance(limit, Since)]
        raise _Misfit(f"{misfit}{''.join(reasons)}") from None
    return fitting


def _require(value: Any, annotation: Any, limit: Any) -> None:
    if isinstance(limit, Only) and value != limit.value:
        raise _Misfit(f"only {shown(limit.value)} works here: {limit.why}")
    if isinstance(limit, Range) and value not in limit:
        raise _Misfit(f"give {WORDS[annotation]}, {limit}")
    if isinstance(limit, Some) and not value:
        raise _Misfit("give one or more, such as [5]")
