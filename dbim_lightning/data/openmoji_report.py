"""Prints the counts and statistics of the OpenMoji pairs: python -m <this module> [root]."""

import sys
from collections import Counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from dbim_lightning.data.openmoji import OpenMoji, cache_path
from dbim_lightning.data.openmoji_split import SPLIT_SIZE, SPLITS
from dbim_lightning.errors import one_line_errors


def statistics(data: OpenMoji) -> dict[str, float]:
    """Over all pixels of a split, in [-1, 1]: deviations, covariance and MSE(x_T, x_0)."""
    x_0 = torch.stack([pair["x_0"] for pair in data]).double()
    x_T = torch.stack([pair["x_T"] for pair in data]).double()
    return {
        "std x_0": x_0.std().item(),
        "std x_T": x_T.std().item(),
        "covariance": ((x_0 - x_0.mean()) * (x_T - x_T.mean())).mean().item(),
        "MSE(x_T, x_0)": (x_0 - x_T).square().mean().item(),
    }


def _main() -> None:
    root = sys.argv[1] if len(sys.argv) > 1 else "data/openmoji"
    splits = {split: OpenMoji(split, root=root) for split in SPLITS}
    counts = Counter(np.load(cache_path(root, SPLIT_SIZE), mmap_mode="r")["split"].tolist())
    table = Table(title=f"OpenMoji at {SPLIT_SIZE} px")
    for title in ("split", "pairs", "groups", "std x_0", "std x_T", "covariance", "MSE(x_T, x_0)"):
        table.add_column(title)
    for split, data in splits.items():
        numbers = [f"{value:.3f}" for value in statistics(data).values()]
        table.add_row(split, str(len(data)), str(len(set(data.groups))), *numbers)
    console = Console()
    console.print(table)
    for reason in sorted(counts.keys() - splits.keys()):
        console.print(f"left out, {reason}: {counts[reason]}")


if __name__ == "__main__":
    with one_line_errors():
        _main()
