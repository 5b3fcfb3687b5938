"""Which OpenMoji drawings make a pair, and which of the three splits each belongs to."""

import re

import numpy as np

from dbim_lightning.data.splits import split_by_hash

SPLIT_SIZE = 32

_FLAG = re.compile(r"1F1(E[6-9A-F]|F)|1F3F4-E00")
_IGNORED = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF", "FE0F", "200D", "2640", "2642"}
_PERSON = {"1F468": "1F9D1", "1F469": "1F9D1"}


def split_drawings(
    names: list[str], targets: np.ndarray, sources: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Assigns whole groups of related emojis to the splits.

    Args:
        names: Stems of the SVGs, hexadecimal code points joined by "-", sorted.
        targets: Whole drawings (N, 32, 32, 3), uint8.
        sources: Line drawings (N, 32, 32, 3), uint8.

    Returns:
        The split of each drawing, or why it is in none; and the smallest name in its group.
    """
    reasons = map(_reason_to_leave_out, names, targets, sources)
    splits = np.array([reason or "" for reason in reasons], dtype=object)
    groups = np.full(len(names), "", dtype=object)
    kept = np.flatnonzero(splits == "")
    groups[kept] = _group_names([names[i] for i in kept], targets[kept], sources[kept])
    splits[kept] = [split_by_hash(group) for group in groups[kept]]
    return splits, groups


def _reason_to_leave_out(name: str, target: np.ndarray, source: np.ndarray) -> str | None:
    if source.min() == 255:
        return "empty line drawing"
    if np.abs(target.astype(int) - source).max() <= 8:
        return "no colour"
    return "flag or regional letter" if _FLAG.match(name) else None


def _group_names(names: list[str], targets: np.ndarray, sources: np.ndarray) -> list[str]:
    """For each name the smallest of its group: same code points, pixels or nearly same lines."""
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parent[high] = low

    first: dict[tuple, int] = {}
    for i, name in enumerate(names):
        keys = ("code", _base_code(name)), ("target", targets[i].tobytes())
        for key in (*keys, ("source", sources[i].tobytes())):
            join(i, first.setdefault(key, i))
    unique = [i for (kind, _), i in first.items() if kind == "source"]
    for i, j in _near_pairs(sources[unique]):
        join(unique[i], unique[j])
    return [names[root(i)] for i in range(len(names))]


def _base_code(name: str) -> str:
    """The code points without skin tone, gender, joiner and presentation, sorted."""
    kept = sorted(_PERSON.get(code, code) for code in name.split("-") if code not in _IGNORED)
    return "-".join(kept) or name


def _near_pairs(drawings: np.ndarray, limit: float = 0.1) -> np.ndarray:
    """Pairs (P, 2) of drawings with |L1 - L2|^2 < limit * min(|L1|^2, |L2|^2), L being the ink.

    Whole numbers in float64 keep the products exact, so the result is the same on any machine.
    """
    ink = 255.0 - drawings.reshape(len(drawings), -1)
    square = (ink**2).sum(1)
    distance = square[:, None] + square - 2 * ink @ ink.T
    return np.argwhere(np.triu(distance < limit * np.minimum(square[:, None], square), 1))
