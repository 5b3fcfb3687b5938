"""Pictures for people to look at."""

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded to the nearest level."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def save_sheet(path: Path, rows: Mapping[str, Tensor], inches_per_image: float = 0.8) -> None:
    """Writes a PNG with one labelled row of images for each entry.

    Args:
        path: of the file; its folder is made.
        rows: label -> images (N, 3, H, W) uint8, the same N for all.
        inches_per_image: width of each, at 100 dots per inch.
    """
    n = len(next(iter(rows.values())))
    width, height = n * inches_per_image + 0.9, len(rows) * inches_per_image
    figure = Figure(figsize=(width, height), dpi=100)
    for i, (label, images) in enumerate(rows.items()):
        bottom = 1 - (i + 1) / len(rows)
        axes = figure.add_axes((0.9 / width, bottom, 1 - 0.9 / width, 1 / len(rows)))
        row = make_grid(images.cpu(), nrow=n, padding=1, pad_value=255)
        axes.imshow(row.permute(1, 2, 0).numpy(), aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        axes.text(-0.01, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
