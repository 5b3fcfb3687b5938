"""Images from files, and bringing pictures of any size to the resolution of a network."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.files import tell_once

Fit = Literal["crop", "squash"]
Span = tuple[float, float]
"""The values that become black and white, of images with more than 8 bits."""
SIXTEEN_BITS: Span = (0, 65535)
SYSTEM = {"@eadir", "__macosx", "lost+found", "$recycle.bin", "system volume information"}
SYSTEM |= {"#recycle", "@recycle", "#snapshot"}
NO_PICTURES = {"EPS", "WMF", "GRIB", "BUFR", "HDF5", "MPEG", "PDF"}  # or by another program
EIGHT_BIT_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".gif"}
ONE_PICTURE = {"MPO", "PSD"}  # whose further frames are previews or layers


@cache
def suffixes() -> frozenset[str]:
    """Of all files that Pillow reads as pictures, in small letters, with their dots."""
    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(end for end, kind in known if kind in Image.OPEN and kind not in NO_PICTURES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is for the system alone: .trash, ._a.png, @eaDir, __MACOSX."""
    return name.startswith(".") or name.lower() in SYSTEM


def image_names(folder: Path) -> list[str]:
    """Sorted paths of all images below a folder, from it; 1.3 million take a few seconds.

    Linked folders are followed. It tells once what it leaves out.
    """
    names, left_out = listed(folder)
    if left_out:
        told = [f"{count:,} {what}" for what, count in sorted(left_out.items())]
        tell_once(f"{folder}: left out {', '.join(told)}")
    return names


def listed(folder: Path) -> tuple[list[str], Counter[str]]:
    """What `image_names` gives, and how many files of which kinds are left out."""
    names, left_out = [], Counter()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        left_out["hidden"] += sum(map(is_hidden, [*folders, *files]))
        folders[:] = [name for name in folders if _is_followed(Path(parent, name), folder)]
        prefix = Path(parent).relative_to(folder).as_posix() + "/"
        for file in files:
            suffix = Path(file).suffix.lower()
            if suffix in suffixes() and not is_hidden(file):
                names.append(prefix.removeprefix("./") + file)
            elif not is_hidden(file):
                left_out[suffix or "without suffix"] += 1
    return sorted(names), +left_out


def _refuse(error: OSError) -> None:
    """Of a folder that is there and cannot be listed; one that is not there is empty."""
    if Path(error.filename).is_dir():
        raise UserError(
            f"cannot list {error.filename} ({error.strerror}): give yourself the right to, or move "
            "it away"
        ) from error


def _is_followed(folder: Path, root: Path) -> bool:
    """Whether to go into a folder: not if it is hidden, or a link back to where it stands."""
    if is_hidden(folder.name):
        return False
    if not folder.is_symlink():
        return True
    depth = len(folder.relative_to(root).parts)
    above = [Path(os.path.realpath(parent)) for parent in folder.parents[:depth]]
    return not any(parent.is_relative_to(os.path.realpath(folder)) for parent in above)


def composed(name: str) -> str:
    """One form for letters that Unicode writes in two ways, such as ü and u with dots (NFC)."""
    return unicodedata.normalize("NFC", name)


def image_files(folder: Path) -> list[Path]:
    """The same with the folder before them."""
    return [folder / name for name in image_names(folder)]


def read_image(path: Path, span: Span | None = None) -> Image.Image:
    """An image as people see it: RGB, turned as its EXIF data say, on white where transparent.

    Args:
        path: of the file; of several frames it takes the first, which is told.
        span: values that become black and white, where there are more than 8 bits to a value. Of 0
            to 65535 the upper 8 bits are taken; None is the same, and refuses floats.

    Raises:
        UserError: no such file, or not a whole image.
    """
    with opened(path) as image:
        if is_deep(image) and not may_be_deep(path):
            raise ValueError(f"a {image.format} of more than 8 bits, unlike {path.suffix} files")
        return _rgb(ImageOps.exif_transpose(image), span)


def image_dimensions(path: Path) -> tuple[int, int]:
    """Width and height that `read_image` will give, from the header alone; same errors."""
    with opened(path) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow has turned its size already
            return width, height
        exif = Image.Image.getexif(image)  # that of PNG files would decode the pixels
        turned = exif.get(ExifTags.Base.Orientation, 1) >= 5
        return (height, width) if turned else (width, height)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, whose errors become one `UserError` that names it.

    Decoders raise whatever they like on broken files, so every exception counts.
    """
    try:
        with Image.open(path) as image:
            if image.format not in ONE_PICTURE and getattr(image, "is_animated", False):
                tell_once(f"{path.parent}: of {path.suffix} files with several frames, the first")
            yield image
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"no image at {path}: the data changed; check its folder") from error
    except Exception as error:
        raise UserError(f"{path} is not a readable image ({error}): repair or remove it") from error


def is_deep(image: Image.Image) -> bool:
    """Whether it has one channel of more than 8 bits; Pillow reads colours as 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def may_be_deep(file: str | Path) -> bool:
    """Whether a file, by its suffix, may have more than 8 bits to a value."""
    return Path(file).suffix.lower() not in EIGHT_BIT_SUFFIXES


def _rgb(image: Image.Image, span: Span | None) -> Image.Image:
    if image.mode == "F" and span is None:
        raise ValueError("32-bit floats, whose range is unknown")
    if is_deep(image):
        values, transparent = np.asarray(image), image.info.get("transparency")
        levels = _levels(values, SIXTEEN_BITS if span is None else span)
        if transparent is not None:
            levels[values == transparent] = 255
        image = Image.fromarray(levels)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _levels(values: np.ndarray, span: Span) -> np.ndarray:
    """Values of more than 8 bits as 0 to 255."""
    if span == SIXTEEN_BITS and values.dtype.kind in "iu":
        return (values >> 8).clip(0, 255).astype(np.uint8)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are no numbers")
    low, high = span
    levels = (values.astype(np.float64) - low) / (high - low) * 255
    return levels.round().clip(0, 255).astype(np.uint8)


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
