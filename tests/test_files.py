"""Files are there whole or not at all, and what cannot be written is named."""

import errno
import gzip
import math
import os
import stat

import pytest

from dbim_lightning.errors import UserError
from dbim_lightning.files import whole, write_json, write_whole


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "über")
    write_whole(path, b"again")
    assert path.read_bytes() == b"again"
    assert list(path.parent.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_has_its_name_and_then_its_folder(tmp_path, monkeypatch):
    path, flushed = tmp_path / "a.txt", []

    def fsync(descriptor):
        found = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(found.st_mode)
        flushed.append((is_folder or found.st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, "seven b")
    assert flushed == [(7, False), (True, True)]
    with whole(path, flush=False) as beside:
        beside.touch()
    assert len(flushed) == 2


def test_two_write_the_same_file_at_once_and_both_are_whole(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as beside:
        beside.write_text("the later")
        write_whole(path, "the earlier")
        assert path.read_text() == "the earlier"
    assert path.read_text() == "the later"
    assert list(tmp_path.iterdir()) == [path]


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


def test_what_json_does_not_have_becomes_null(tmp_path):
    values = {"a": [1.5, math.nan], "b": {"c": (math.inf, -math.inf, "NaN", True, 3)}}
    write_json(tmp_path / "new" / "a.json", values)
    text = (tmp_path / "new" / "a.json").read_text()
    assert text == '{"a": [1.5, null], "b": {"c": [null, null, "NaN", true, 3]}}'


def test_a_name_that_is_no_unicode_is_written_as_an_escape(tmp_path):
    write_whole(tmp_path / "a.txt", "ä\udcff")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä\\udcff"
