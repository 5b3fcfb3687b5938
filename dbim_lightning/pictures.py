"""Pictures for people to look at."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dbim_lightning.files import write_whole

SIDE = 96  # px that an image takes at least, roughly
GAP = 2  # px between images
COLUMNS, LETTERS = 4, 34  # of a contact sheet: in a row, of a name
HISTOGRAM = 120  # px of its height


def to_uint8(images: Tensor, rounding: str = "nearest") -> Tensor:
    """[-1, 1] -> 0..255, rounded to the "nearest" level, or "down" to the one below."""
    levels = (images + 1) * 127.5
    return (levels.round() if rounding == "nearest" else levels).clamp(0, 255).to(torch.uint8)


def save_sheet(path: Path, rows: Sequence[tuple[str, Tensor]]) -> None:
    """Writes a `sheet` as a PNG; the folder of the file is made."""
    _save(path, sheet(rows))


def sheet(rows: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """Labelled rows of images.

    Args:
        rows: label, of one line or more, and images (N, 3, H, W) uint8; the first sets their size.
    """
    n, height, width = max(len(images) for _, images in rows), *rows[0][1].shape[2:]
    scale = _scale(height, width)
    height, width = height * scale + GAP, width * scale + GAP
    font = ImageFont.load_default(max(14, height // 10))
    left = max(int(_size(label, font)[0]) for label, _ in rows) + 16
    picture = Image.new("RGB", (left + n * width, len(rows) * height), "white")
    draw = ImageDraw.Draw(picture)
    for i, (label, images) in enumerate(rows):
        middle = (left - 8, i * height + height // 2)
        draw.multiline_text(middle, label, "black", font, anchor="rm", align="right")
        for j, image in enumerate(images):
            pixels = _enlarged(image, width - GAP, height - GAP)
            picture.paste(pixels, (left + j * width, i * height))
    return picture


def save_contact_sheet(path: Path, images: Mapping[str, Tensor]) -> None:
    """Writes a PNG with each image (3, H, W), uint8, under its name.

    Args:
        path: of the file; its folder is made.
        images: name -> image, all of one shape.
    """
    _, height, width = next(iter(images.values())).shape
    scale, font = _scale(height, width), ImageFont.load_default(13)
    names = [name if len(name) <= LETTERS else f"…{name[-LETTERS:]}" for name in images]
    cell = max(width * scale, *(int(_size(name, font)[0]) for name in names)) + 12
    line = height * scale + 28
    size = (cell * min(COLUMNS, len(images)), line * -(-len(images) // COLUMNS))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, image) in enumerate(zip(names, images.values(), strict=True)):
        left, top = i % COLUMNS * cell, i // COLUMNS * line
        draw.text((left + cell // 2, top + 12), name, "black", font, anchor="mm")
        pixels = _enlarged(image, width * scale, height * scale)
        sheet.paste(pixels, (left + (cell - width * scale) // 2, top + 24))
    _save(path, sheet)


def save_histograms(path: Path, images: Mapping[str, Tensor]) -> None:
    """Writes a PNG with how often each level from 0 to 255 occurs, on a scale of roots.

    Args:
        path: of the file; its folder is made.
        images: name -> images (N, 3, H, W) uint8.
    """
    line, font = HISTOGRAM + 44, ImageFont.load_default(13)
    sheet = Image.new("RGB", (2 * 256 + 40, line * len(images)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, some) in enumerate(images.items()):
        counts = torch.bincount(some.flatten().cpu().long(), minlength=256).double()
        used = counts.nonzero().flatten()
        told = f"{name}: {len(used)} levels, {used[0]} to {used[-1]}"
        draw.text((20, i * line + 4), told, "black", font)
        bottom = i * line + 24 + HISTOGRAM
        heights = (counts / counts.max()).sqrt() * HISTOGRAM
        for level, height in enumerate(heights.tolist()):
            left = 20 + 2 * level
            if height > 0:
                draw.rectangle((left, bottom - max(height, 1), left + 1, bottom), "black")
        draw.line((20, bottom + 1, 20 + 2 * 256, bottom + 1), "grey")
        for level in (0, 64, 128, 192, 255):
            draw.text((20 + 2 * level, bottom + 2), str(level), "grey", font, anchor="ma")
    _save(path, sheet)


def _scale(height: int, width: int) -> int:
    return max(1, round(SIDE / min(height, width)))


def _enlarged(image: Tensor, width: int, height: int) -> Image.Image:
    pixels = Image.fromarray(image.cpu().permute(1, 2, 0).numpy())
    return pixels.resize((width, height), Image.Resampling.NEAREST)


def _size(text: str, font: ImageFont.FreeTypeFont) -> tuple[float, float]:
    left, top, right, bottom = ImageDraw.Draw(Image.new("1", (1, 1))).multiline_textbbox(
        (0, 0), text, font
    )
    return right - left, bottom - top


def _save(path: Path, picture: Image.Image) -> None:
    file = io.BytesIO()
    picture.save(file, "png")
    write_whole(path, file.getvalue())
