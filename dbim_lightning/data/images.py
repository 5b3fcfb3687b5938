"""Images from files, and bringing pictures of any size to the resolution of a network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from dbim_lightning.errors import UserError

Fit = Literal["crop", "squash"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def image_names(folder: Path) -> list[str]:
    """Sorted paths of all images below a folder, from it; 1.3 million take a few seconds."""
    names = []
    for parent, _, files in os.walk(folder):
        prefix = Path(parent).relative_to(folder).as_posix() + "/"
        names += [prefix.removeprefix("./") + file for file in files if _is_image(file)]
    return sorted(names)


def _is_image(file: str) -> bool:
    return not file.startswith(".") and file.lower().endswith(SUFFIXES)


def image_files(folder: Path) -> list[Path]:
    """The same with the folder before them."""
    return [folder / name for name in image_names(folder)]


def read_image(path: Path) -> Image.Image:
    """An image as people see it: RGB, turned as its EXIF data say, on white where transparent.

    16-bit images keep their upper 8 bits.

    Raises:
        UserError: no such file, or not a whole image.
    """
    with _opened(path) as opened:
        return _rgb(ImageOps.exif_transpose(opened))


def image_dimensions(path: Path) -> tuple[int, int]:
    """Width and height that `read_image` will give, from the header alone; same errors."""
    with _opened(path) as opened:
        width, height = opened.size
        if opened.format == "TIFF":  # Pillow has turned its size already
            return width, height
        exif = Image.Image.getexif(opened)  # that of PNG files would decode the pixels
        turned = exif.get(ExifTags.Base.Orientation, 1) >= 5
        return (height, width) if turned else (width, height)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as opened:
            yield opened
    except FileNotFoundError as error:
        raise UserError(f"no image at {path}: the data changed; check its folder") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a readable image ({error}): repair or remove it") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("32-bit floats, whose range is unknown")
    if image.mode.startswith("I"):  # 16 bits, also where Pillow calls it 32
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def fit(
    image: Image.Image,
    size: int,
    how: Fit,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """A square of `size`: "crop" scales the short side and cuts the middle out; "squash" scales
    both sides, whatever the shape was."""
    if how == "squash":
        return image.resize((size, size), resampling)
    short = min(image.size)
    width, height = (int(size * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    scaled = image.resize((width, height), resampling)
    return scaled.crop((left, top, left + size, top + size))


def to_tensor(image: Image.Image) -> Tensor:
    """RGB -> (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1
