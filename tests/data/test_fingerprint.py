"""A fingerprint changes with every target image, and reads no more than it has to."""

import os

import pytest
import torch
from picture_files import picture, save
from torch.utils.data import Dataset, Subset

from dbim_lightning.data import OpenMoji
from dbim_lightning.data.fingerprint import fingerprint, stamps
from dbim_lightning.data.images import read_image, to_tensor
from dbim_lightning.data.openmoji import cache_path
from dbim_lightning.errors import UserError

COUNT = 30


class Listed:
    """Pairs, each of which notes that it was read."""

    def __init__(self, images):
        self.images, self.read = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index)
        return {"x_0": self.images[index], "x_T": self.images[index] / 2, "index": index}


class Folder(Listed):
    """The same from files."""

    def __init__(self, folder):
        self.files = sorted(folder.glob("*.png"))
        super().__init__([to_tensor(read_image(path)) for path in self.files])


@pytest.fixture
def folder(tmp_path):
    for i in range(COUNT):
        save(tmp_path / f"{i:02}.png", picture(6, 6, 3, seed=i))
    return tmp_path


@pytest.fixture
def images():
    return [torch.full((3, 2, 2), i / COUNT) for i in range(COUNT)]


@pytest.mark.parametrize("changed", range(0, COUNT, 7))
def test_any_target_changes_it_where_there_are_no_files(images, changed):
    before = fingerprint(Listed(images))
    assert fingerprint(Listed(list(images))) == before
    images[changed] = -images[changed] - 0.5
    assert fingerprint(Listed(images)) != before


def test_of_a_subset_only_its_own_images_are_read(images):
    data = Listed(images)
    first = fingerprint(Subset(data, [1, 2, 20]))
    assert data.read == [1, 2, 20]
    images[3] = -images[3] - 0.5
    assert fingerprint(Subset(data, [1, 2, 20])) == first
    assert fingerprint(Subset(data, [1, 2, 3])) != first


@pytest.mark.parametrize("changed", range(0, COUNT, 7))
def test_any_file_changes_it_and_few_are_decoded(folder, changed):
    data = Folder(folder)
    before = fingerprint(data)
    assert len(data.read) == 4
    assert fingerprint(Folder(folder)) == before
    path = folder / f"{changed:02}.png"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint(Folder(folder)) != before
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(Folder(folder)) != before


def test_a_file_replaced_with_its_size_and_time_kept_changes_it(folder):
    path, data = folder / "01.png", Folder(folder)
    before, content, stat = fingerprint(data), path.read_bytes(), path.stat()
    assert 1 not in data.read
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert fingerprint(data) != before


def test_files_added_removed_or_decoded_otherwise_change_it(folder):
    before = fingerprint(Folder(folder))
    whole = Folder(folder)
    whole.images = [image / 2 for image in whole.images]
    assert fingerprint(whole) != before
    (folder / "29.png").rename(folder / "30.png")
    assert fingerprint(Folder(folder)) != before


def test_the_indices_of_a_subset_of_files_count(folder):
    one, other = ([0, 5, 9, 20, i, 29] for i in (21, 22))
    found = [fingerprint(Subset(Folder(folder), some)) for some in (one, other, one)]
    assert found[0] == found[2] != found[1]


def test_names_of_files_that_are_no_paths_are_not_looked_for(images):
    data = Listed(images)
    data.files = ["a.png"] * COUNT
    assert stamps(data) == {}
    fingerprint(data)
    assert len(data.read) == COUNT


def test_a_file_that_is_gone_is_named(folder):
    data = Folder(folder)
    (folder / "07.png").unlink()
    with pytest.raises(UserError, match=r"no file .*07\.png .*the data changed"):
        fingerprint(data)


def test_openmoji_is_told_by_its_cache(openmoji_root):
    data: Dataset = OpenMoji("test", root=openmoji_root)
    path = cache_path(openmoji_root, 32)
    stat = path.stat()
    assert stamps(data) == {str(path): [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]}
