"""Values as annotations say: what is converted, what is refused, and with which words."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch

from dbim_lightning.errors import UserError
from dbim_lightning.values import Only, Range, Since, converted

COUNT = Annotated[int, Range(1)]
POSITIVE = Annotated[float, Range(0, above=True)]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("off", bool, False),
        ("no", bool, False),
        ("On", bool, True),
        (0, bool, False),
        (5.0, int, 5),
        ("5", int, 5),
        (1e5, COUNT, 100_000),
        (2**60 + 1, int, 2**60 + 1),
        (1, float, 1.0),
        ("1e-4", POSITIVE, 1e-4),
        (2024, str, "2024"),
        (7, str | Path, "7"),
        (None, int | None, None),
        (None, COUNT | None, None),
        (32, Literal["32", "16"], "32"),
        (True, int | bool, True),
        (3, int | float, 3),
        (0.5, int | float, 0.5),
        ([1, 2.0], list[int], [1, 2]),
        ([1, 2], tuple[float, float], [1.0, 2.0]),
        (["a"], Sequence[str], ["a"]),
        ([], list[COUNT], []),
        ("nearest", str | Sequence[str], "nearest"),
        (["a", "b"], Literal["a"] | Sequence[Literal["a", "b"]], ["a", "b"]),
        ("jpeg", str | Callable[[int], int], "jpeg"),
        (-1, Annotated[Any, Only(-1, "so it is")], -1),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ("anything", Any, "anything"),
    ],
)
def test_what_can_mean_one_thing_alone_is_converted(value, annotation, expected):
    found = converted("key", value, annotation)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "annotation", "words"),
    [
        ("maybe", bool, "key=maybe: give true or false"),
        (2, bool, "give true or false"),
        (None, bool, "key=null: give true or false"),
        (True, int, "give a whole number"),
        (1.5, int, "give a whole number"),
        (1e30, int, "give a whole number"),
        ("ten", int, "give a whole number"),
        (None, int, "key=null: give a whole number"),
        (float("nan"), float, "give a number"),
        (float("inf"), float, "give a number"),
        ([1], float, "give a number"),
        (0, COUNT, "key=0: give a whole number, 1 or more"),
        (0, POSITIVE, "key=0: give a number, above 0"),
        (-1, COUNT | None, "key=-1: give a whole number, 1 or more, or null"),
        (2**32, Annotated[int, Range(0, 2**32 - 1)], "from 0 to 4294967295"),
        ("c", Literal["a", "b"], "key=c: choose a, b"),
        ("c", Annotated[Literal["a"], Since("the rest is slow")], "choose a; the rest is slow"),
        ("off", float | torch.Tensor, "give a number"),
        (5, list[int], "give a list"),
        ("abc", Sequence[str], "give a list"),
        ([0], list[COUNT], "give a whole number, 1 or more"),
        ([1, 2, 3], tuple[float, float], "give 2 values"),
        (3, Annotated[Any, Only(None, "there are none")], "only null works here: there are none"),
        ([1], str, "give a text"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_with_what_to_give(value, annotation, words):
    with pytest.raises(UserError, match="key=") as refused:
        converted("key", value, annotation)
    assert words in str(refused.value)
