"""Files are there whole or not at all, and what cannot be written is named."""

import errno
import gzip

import pytest

from dbim_lightning.errors import UserError
from dbim_lightning.files import whole, write_whole


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "über")
    write_whole(path, b"again")
    assert path.read_bytes() == b"again"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with pytest.raises(KeyError), whole(path) as beside:
        beside.write_text("half")
        raise KeyError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_and_a_file_in_place_of_the_folder_are_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"a\.txt \(No space left\): make room"),
        whole(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file.b .*choose another folder"):
        write_whole(tmp_path / "file" / "b", "")


def test_a_damaged_archive_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(gzip.BadGzipFile), whole(tmp_path / "a.txt"):
        raise gzip.BadGzipFile("CRC check failed")
    assert list(tmp_path.iterdir()) == []
