"""ImageNet (ILSVRC 2012) as folders of classes, which hold the images as they are."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from scipy.io import loadmat

from dbim_lightning.data.images import image_files
from dbim_lightning.data.prepare.download import check_md5
from dbim_lightning.data.prepare.unpack import is_unpacked, require_same, unfinished, unpack
from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json, write_json

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
MD5 = {
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
}
PUBLISHED = {"train": 1_281_167, "test": 50_000}
WHERE = (
    f"register at https://image-net.org, download {', '.join(MD5)}, and give "
    "them with --archive FILE FILE FILE; archives of train/<class>/ and val/<class>/ do too"
)
IMAGE = re.compile(r"(?:^|/)(?:(train|val)/)?(?:(n\d{8})/)?([^./][^/]*\.JPEG)$")
VALIDATION_PREFIX = "ILSVRC2012_val_"
META, TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"


def make(folder: Path, given: Mapping[str, Path]) -> dict[str, int]:
    """Unpacks what FOLDER/train/<class> and FOLDER/test/<class> lack.

    Args:
        given: File name -> archive.

    Returns:
        Split -> number of images.

    Raises:
        UserError: No archives, wrong or damaged ones, or a split without images.
    """
    whole = folder / "prepared.json"
    for name, archive in given.items():
        require_same(archive, _folder_of(name, folder))
    is_new = any(not is_unpacked(name, _folder_of(name, folder)) for name in given)
    if is_new or not whole.is_file():
        if not given:
            raise UserError(f"ImageNet needs a login: {WHERE}")
        whole.unlink(missing_ok=True)
        _unpack_all(given, folder)
        if rest := unfinished(folder):
            raise UserError(
                f"{folder} lacks a part of {', '.join(rest)}: give --archive for it, too"
            )
        counts = {split: len(image_files(folder / split)) for split in PUBLISHED}
        if not all(counts.values()):
            missing = " and ".join(split for split, count in counts.items() if not count)
            raise UserError(f"no {missing} images in {folder} yet: {WHERE}")
        write_json(whole, counts)
    return read_json(whole, "delete it and run the command again")


def _folder_of(archive: str, folder: Path) -> Path:
    """Where an archive of this name is unpacked."""
    return folder / "devkit" if archive == DEVKIT else folder


def _unpack_all(files: Mapping[str, Path], folder: Path) -> None:
    devkit = _folder_of(DEVKIT, folder)
    for name, md5 in MD5.items():
        if name in files and not is_unpacked(name, _folder_of(name, folder)):
            check_md5(files[name], md5)
    if DEVKIT in files:
        unpack(files[DEVKIT], devkit, _place_label_file)
    labels = _labels(devkit) if is_unpacked(DEVKIT, devkit) else {}
    for name, file in files.items():
        if name != DEVKIT:
            unpack(file, folder, partial(place, labels=labels))


def place(name: str, labels: Mapping[str, str]) -> str | None:
    """Where an image of an archive goes.

    Args:
        labels: File name of a validation image -> its class.

    Raises:
        UserError: A validation image of unknown class.
    """
    match = IMAGE.search(name)
    if match is None:
        return None
    split, label, file = match.groups()
    if split == "val" or file.startswith(VALIDATION_PREFIX):
        label = label or labels.get(file)
        if label is None:
            raise UserError(f"the class of {file} is not known: give {DEVKIT} with --archive, too")
        return f"test/{label}/{file}"
    return f"train/{label}/{file}" if label else None


def _place_label_file(name: str) -> str | None:
    file = name.rpartition("/")[2]
    return file if file in (META, TRUTH) else None


def _labels(devkit: Path) -> dict[str, str]:
    synsets = loadmat(devkit / META, squeeze_me=True)["synsets"]
    classes = dict(zip(synsets["ILSVRC2012_ID"].tolist(), synsets["WNID"].tolist(), strict=True))
    truth = (devkit / TRUTH).read_text().split()
    return {
        f"{VALIDATION_PREFIX}{number:08}.JPEG": classes[int(label)]
        for number, label in enumerate(truth, start=1)
    }
