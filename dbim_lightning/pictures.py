"""Pictures for people to look at."""

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

INCHES = 0.8  # of one image, at 100 dots per inch
LABEL_INCHES = 0.9


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded to the nearest level."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def save_sheet(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Writes a PNG with one labelled row of images for each entry.

    Args:
        path: of the file; its folder is made.
        rows: label -> images (N, 3, H, W) uint8, the same N for all.
    """
    n = len(next(iter(rows.values())))
    width, height = n * INCHES + LABEL_INCHES, len(rows) * INCHES
    figure = Figure(figsize=(width, height), dpi=100)
    for i, (label, images) in enumerate(rows.items()):
        bottom = 1 - (i + 1) / len(rows)
        axes = figure.add_axes(
            (LABEL_INCHES / width, bottom, 1 - LABEL_INCHES / width, 1 / len(rows))
        )
        row = make_grid(images.cpu(), nrow=n, padding=1, pad_value=255)
        axes.imshow(row.permute(1, 2, 0).numpy(), aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        axes.text(-0.01, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.05)  # however long the labels are
