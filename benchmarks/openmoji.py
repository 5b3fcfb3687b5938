"""Prints the counts and statistics of the OpenMoji pairs: python -m benchmarks.openmoji [root]."""

import sys
from collections import Counter

import numpy as np
from rich.console import Console
from rich.table import Table

from dbim_lightning.data.openmoji import OpenMoji, cache_path
from dbim_lightning.data.openmoji_split import SPLIT_SIZE
from dbim_lightning.data.splits import SPLITS
from dbim_lightning.data.statistics import statistics
from dbim_lightning.errors import one_line_errors

SHOWN = ("std x_0", "std x_T", "covariance", "MSE(x_T, x_0)")


def main() -> None:
    root = sys.argv[1] if len(sys.argv) > 1 else "data/openmoji"
    splits = {split: OpenMoji(split, root=root) for split in SPLITS}
    counts = Counter(np.load(cache_path(root, SPLIT_SIZE), mmap_mode="r")["split"].tolist())
    table = Table(title=f"OpenMoji at {SPLIT_SIZE} px")
    for title in ("split", "pairs", "groups", *SHOWN):
        table.add_column(title)
    for split, data in splits.items():
        found = statistics(data)
        numbers = [f"{found[name]:.3f}" for name in SHOWN]
        table.add_row(split, str(len(data)), str(len(set(data.groups))), *numbers)
    console = Console()
    console.print(table)
    for reason in sorted(counts.keys() - splits.keys()):
        console.print(f"left out, {reason}: {counts[reason]}")


if __name__ == "__main__":
    with one_line_errors():
        main()
