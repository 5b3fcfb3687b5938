"""Pictures in, from the page's pad or a file, and strips of pictures out."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.utils import make_grid

from dbim_lightning.data.images import opened, read_image, to_tensor
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import to_uint8

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF")  # none that runs other programs
LARGEST = 25_000_000  # pixels of an upload
PAD = 512  # px of the pad's side, roughly
SHORTEST = 8  # px of an upload's side
DATA = "data:image/png;base64,"


def pad_side(size: int) -> int:
    """A multiple of the bridge's size, so that each of its pixels is a mean of whole ones."""
    return size * max(1, round(PAD / size))


def uploaded(path: Path, side: int) -> str:
    """A picture of a file on a white square, as the pad takes it.

    Raises:
        UserError: no readable picture, or one with too many pixels.
    """
    try:
        with opened(path) as image:
            (width, height), kind = image.size, image.format
        if kind not in FORMATS:
            raise UserError(f"{path} is a {kind} file: give a {', '.join(FORMATS)}")
        if width * height > LARGEST:
            raise UserError(
                f"{path} has {width:,} x {height:,} pixels: make it smaller, up to "
                f"{LARGEST // 10**6} million are taken"
            )
        if min(width, height) < SHORTEST or max(width, height) > side * min(width, height) // 8:
            raise UserError(
                f"{path} has {width:,} x {height:,} pixels: give a picture of {SHORTEST} or more "
                "on each side, and no line"
            )
        image = read_image(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    return url(ImageOps.pad(image, (side, side), color="white"))


def url(image: Image.Image) -> str:
    """A data URL, which is a picture in itself."""
    file = io.BytesIO()
    image.save(file, "png")
    return DATA + base64.b64encode(file.getvalue()).decode()


def source(drawing: str, size: int) -> Tensor:
    """x_T (1, 3, size, size) in [-1, 1] of what is on the pad; nothing is a white page.

    Raises:
        UserError: no PNG of the pad's size.
    """
    side = pad_side(size)
    if not drawing:
        return torch.ones(1, 3, size, size)
    try:
        content = base64.b64decode(drawing.removeprefix(DATA), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (side, side):
                raise ValueError(f"{image.size} pixels in place of {side}")
            pixels = image.convert("RGB").reduce(side // size)
    except Exception as error:  # decoders raise whatever they like
        raise UserError(f"the drawing is not whole ({error}): draw again") from error
    return to_tensor(pixels)[None]


def picture(image: Tensor) -> Image.Image:
    """Of (3, H, W) in [-1, 1]."""
    return Image.fromarray(to_uint8(image).permute(1, 2, 0).numpy())


def strip(rows: Sequence[Tensor]) -> Image.Image:
    """Rows of pictures (N, 3, H, W) in [-1, 1], apart by a white line."""
    images, gap = torch.cat(list(rows)), max(1, rows[0].shape[-1] // 16)
    return picture(make_grid(images, nrow=len(rows[0]), padding=gap, pad_value=1))
