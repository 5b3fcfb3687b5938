"""Edges to Handbags: strips of edges and photo (Isola et al. 2017)."""

import re
from pathlib import Path

from torch.utils.data import Dataset

from dbim_lightning.data.images import fit, image_files, read_image, to_tensor
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.prepare.download import Archive
from dbim_lightning.data.prepare.recipe import SPLITS, Recipe
from dbim_lightning.errors import UserError

ARCHIVE = Archive(
    "edges2handbags.tar.gz",
    "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2handbags.tar.gz",
)
STRIP = re.compile(r"(?:^|/)(train|val)/([^./][^/]*\.jpg)$")


class Strips(Dataset):
    """Source: the left half of a strip. Target: its right half. Both scaled to a square.

    Raises:
        UserError: No strips; on access, one that is broken.
    """

    def __init__(self, unpacked: Path, split: str, image_size: int):
        self.files = image_files(unpacked / split)
        self.image_size = image_size
        if not self.files:
            raise UserError(
                f"no strips in {unpacked / split}: delete {unpacked} and give the archive "
                f"{ARCHIVE.name} that has edges2handbags/train and edges2handbags/val"
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Pair:
        strip = read_image(self.files[index])
        middle = strip.width // 2
        left = strip.crop((0, 0, middle, strip.height))
        right = strip.crop((middle, 0, 2 * middle, strip.height))
        x_T, x_0 = (to_tensor(fit(half, self.image_size, "squash")) for half in (left, right))
        return Pair(x_0=x_0, x_T=x_T, index=index, name=self.files[index].stem)


def place(name: str) -> str | None:
    match = STRIP.search(name)
    return f"{SPLITS[match[1]]}/{match[2]}" if match else None


RECIPE = Recipe(
    archives=(ARCHIVE,),
    place=place,
    pairs=Strips,
    image_size=64,
    published={"train": 138_567, "test": 200},
    train="dataset=edges2handbags network=adm_e2h training=published",
)
