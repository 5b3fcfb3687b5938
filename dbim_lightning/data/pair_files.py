"""The files of a pair."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class PairFiles(NamedTuple):
    """One pair on disk; a strip is both source and target.

    group: its name, or in a table where its source is; the smallest among pairs that share a file.
    """

    name: str
    source: Path
    target: Path
    group: str


def files_of(pairs: Iterable[PairFiles]) -> list[Path]:
    """Every file of some pairs, sorted, each once."""
    return sorted({path for pair in pairs for path in (pair.source, pair.target)})


def first_ten(paths: Iterable[Path]) -> str:
    first = sorted(map(str, paths))[:11]
    return ", ".join(first[:10]) + (", ..." if len(first) > 10 else "")
