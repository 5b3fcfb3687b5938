"""Our own samples as PNG files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from dbim_lightning.data.images import read_image
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import Images
from dbim_lightning.files import write_whole


def save_png(images: Images, data: Dataset, folder: str | Path) -> None:
    """Writes each sample as a PNG file with the name of its pair.

    A file that holds the very pixels already is kept. `GivenSamples` reads the folder again.

    Args:
        images: a block of samples.
        data: that they were sampled from.
        folder: for names with "/" also its sub-folders are made.

    Raises:
        UserError: a folder that cannot be written, or a name that leads out of it.
    """
    samples = images.samples.permute(0, 2, 3, 1).numpy()
    for position, pixels in zip(images.position.tolist(), samples, strict=True):
        name = data[position]["name"]
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"the pair {name} names a file outside {folder}: rename the pair")
        path = Path(folder) / f"{name}.png"
        if not _holds(path, pixels):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "png")
            write_whole(path, file.getvalue())


def _holds(path: Path, pixels: np.ndarray) -> bool:
    try:
        return np.array_equal(read_image(path), pixels)
    except UserError:
        return False
