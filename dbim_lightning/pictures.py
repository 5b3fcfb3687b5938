"""Pictures for people to look at."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from dbim_lightning.files import whole

INCHES = 0.8  # of one image, at 100 dots per inch
LABEL_INCHES = 0.9
SHEET_COLUMNS, SHEET_INCHES = 4, 3.0


def to_uint8(images: Tensor, truncates: bool = False) -> Tensor:
    """[-1, 1] -> 0..255, rounded to the nearest level, or cut off to the level below."""
    levels = (images + 1) * 127.5
    return (levels if truncates else levels.round()).clamp(0, 255).to(torch.uint8)


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
    with whole(path) as beside:  # tight, however long the labels are
        figure.savefig(beside, format="png", bbox_inches="tight", pad_inches=0.05)


def save_contact_sheet(path: Path, images: Mapping[str, Tensor]) -> None:
    """Writes a PNG with each image (3, H, W), uint8, under its name.

    Args:
        path: of the file; its folder is made.
        images: name -> image, all of one shape.
    """
    _, height, width = next(iter(images.values())).shape
    rows = math.ceil(len(images) / SHEET_COLUMNS)
    size = (SHEET_INCHES * SHEET_COLUMNS, (SHEET_INCHES * height / width + 0.2) * rows)
    figure = Figure(figsize=size, dpi=120)
    grid = figure.subplots(rows, SHEET_COLUMNS, squeeze=False).flat
    for axes, (name, image) in zip(grid, images.items(), strict=False):
        axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(name if len(name) <= 34 else f"…{name[-34:]}", fontsize=7)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.tight_layout(pad=0.3)
    with whole(path) as beside:
        figure.savefig(beside, format="png")
