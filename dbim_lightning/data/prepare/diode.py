"""DIODE, outdoor scenes: surface normals and photo (Vasiljevic et al. 2019)."""

import csv
import re
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from dbim_lightning.archives import UNREADABLE
from dbim_lightning.data.images import fit, read_image, to_tensor
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.prepare.download import Archive
from dbim_lightning.data.prepare.recipe import SPLITS, Recipe
from dbim_lightning.errors import UserError

HOST = "http://diode-dataset.s3.amazonaws.com"
LIST_HOST = "https://diode-1254389886.cos.ap-hongkong.myqcloud.com"
MD5 = {
    "train.tar.gz": "3a94632398fe1d002d89f11743f748b1",
    "train_normals.tar.gz": "9c0617ebe1eaf1928fdf3344e1c42aef",
    "val.tar.gz": "5c895d09201b88973c8fe4552a67dd85",
    "val_normals.tar.gz": "323ccaf60abebdb59705dcd8b529d709",
}
LISTS = {"train": "train_outdoor.csv", "test": "val_outdoor.csv"}
NEEDED = re.compile(
    r"(?:^|/)(train|val)(?:_normals)?/(outdoor/(?:[^/]+/)*[^./][^/]*(?:\.png|_normal\.npy))$"
)
ENDS = (".png", "_normal.npy")
LIST = re.compile(r"(?:^|/)((?:train|val)_outdoor\.csv)$")


class NormalPairs(Dataset):
    """Source: the surface normals of a view as colours. Target: its photo.

    Views are those of the published list that have normals, or without list all that have them.

    Raises:
        UserError: No views; on access, a photo or normals that are missing or broken.

    Attributes:
        files: That the views are read from, and the list.
    """

    def __init__(self, unpacked: Path, split: str, image_size: int):
        self.folder, self.image_size = unpacked / split, image_size
        table = unpacked / LISTS[split]
        if table.is_file():
            self.views = _listed(table)
        else:
            print(f"{split}: without {LISTS[split]}, all outdoor views that have normals are taken")
            normals = self.folder.rglob("*_normal.npy")
            found = (path.relative_to(self.folder).as_posix() for path in normals)
            self.views = sorted(path.removesuffix("_normal.npy") for path in found)
        if not self.views:
            raise UserError(
                f"no outdoor views with normals in {self.folder}: delete {unpacked} and give "
                f"archives that have them ({', '.join(MD5)})"
            )
        paths = [self.folder / f"{view}{end}" for view in self.views for end in ENDS]
        self.files = [path for path in (table, *paths) if path.is_file()]

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> Pair:
        view = self.views[index]
        image, normals = (self.folder / f"{view}{end}" for end in ENDS)
        photo = fit(read_image(image), self.image_size, "squash")
        normals = read_normals(normals)
        colours = Image.fromarray(normals_to_colours(normals, self.image_size))
        name = view.rpartition("/")[2]
        return Pair(x_0=to_tensor(photo), x_T=to_tensor(colours), index=index, name=name)


def _listed(table: Path) -> list[str]:
    """The views of a list (image, depth, mask, normals) as paths in their split, without suffix."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0].endswith(".png")]
    names = sorted(Path(row[0]).stem for row in rows if row[-1] != "Unavailable")
    places = (name.split("_")[:2] for name in names)
    return [
        f"outdoor/scene_{scene}/scan_{scan}/{name}"
        for name, (scene, scan) in zip(names, places, strict=True)
    ]


def read_normals(path: Path) -> np.ndarray:
    """(H, W, 3) float32.

    Raises:
        UserError: No such file, or no normals in it.
    """
    try:
        normals = np.load(path, mmap_mode="r", allow_pickle=False)
        if normals.ndim != 3 or normals.dtype.kind != "f":
            raise ValueError(f"{normals.dtype} {normals.shape}")
        normals = normals.astype(np.float32)
    except (*UNREADABLE, AttributeError) as error:
        raise UserError(f"{path} holds no surface normals ({error}): unpack it again") from error
    if normals.ndim != 3 or normals.shape[2] != 3 or not np.isfinite(normals).all():
        raise UserError(f"{path} holds no surface normals (H, W, 3), or some are not finite")
    return normals


def normals_to_colours(normals: np.ndarray, image_size: int) -> np.ndarray:
    """(H, W, 3) float32 in [-1, 1] -> (image_size, image_size, 3) uint8, as published.

    Nearest neighbour takes the first pixel of each cell, and levels are rounded down: the
    conventions of OpenCV and of matplotlib, with which the published images were made.
    """
    rows, columns = (np.arange(image_size) * side // image_size for side in normals.shape[:2])
    small = normals[rows[:, None], columns]
    unknown = small.sum(axis=2, keepdims=True) == 0
    small = small + unknown * small.min()
    return (np.clip((small - small.min()) / 2, 0, 1) * 255).astype(np.uint8)


def place(name: str) -> str | None:
    if match := LIST.search(name):
        return match[1]
    match = NEEDED.search(name)
    return f"{SPLITS[match[1]]}/{match[2]}" if match else None


RECIPE = Recipe(
    archives=(
        Archive("data_list.zip", f"{LIST_HOST}/data_list.zip", optional=True),
        *(Archive(name, f"{HOST}/{name}", md5) for name, md5 in MD5.items()),
    ),
    place=place,
    pairs=NormalPairs,
    image_size=256,
    published={"train": 16_502},
    train="dataset=diode network=adm_diode training=published",
    lists=tuple(LISTS.values()),
)
