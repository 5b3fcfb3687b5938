"""Downloads over real connections, which break."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dbim_lightning.data.prepare import download
from dbim_lightning.data.prepare.download import Archive, fetch
from dbim_lightning.errors import UserError

CONTENT = np.random.default_rng(0).bytes(5_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
NAME = "things.tar.gz"


@pytest.fixture
def server(server):
    server.files[NAME] = CONTENT
    return server


def archive(server, md5=MD5):
    return Archive(NAME, server.url + NAME, md5)


def test_download_is_whole_and_happens_once(server, tmp_path):
    path = fetch(archive(server), tmp_path / "archives")
    assert path == tmp_path / "archives" / NAME
    assert path.read_bytes() == CONTENT
    assert fetch(archive(server), tmp_path / "archives") == path
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == [NAME]


def test_broken_connections_are_continued_without_fetching_twice(server, tmp_path):
    server.breaks = [20 * download.CHUNK, 30 * download.CHUNK + 9]
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    starts = [20 * download.CHUNK, 50 * download.CHUNK]  # but the 9 bytes of a chunk that broke
    assert [r.range for r in server.requests] == [None, *(f"bytes={start}-" for start in starts)]
    assert sum(r.sent for r in server.requests) == len(CONTENT) + 9


def test_many_breaks_that_each_bring_something_are_no_failure(server, tmp_path):
    server.breaks = [100_000] * (3 * download.TRIES)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_killed_download_goes_on_in_the_next_run(server, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download.Progress, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(archive(server), tmp_path)
    assert not (tmp_path / NAME).exists()
    arrived = (tmp_path / f"{NAME}.part").stat().st_size
    assert 0 < arrived < len(CONTENT)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1].range == f"bytes={arrived}-"
    assert server.requests[-1].sent == len(CONTENT) - arrived


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.has_ranges, server.breaks = False, [3_000_000]
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert [r.sent for r in server.requests] == [3_000_000, len(CONTENT)]


@pytest.mark.parametrize(("there", "sent"), [(CONTENT, 0), (CONTENT + b"more", len(CONTENT))])
def test_a_part_of_all_bytes_is_taken_and_one_of_more_is_not(server, tmp_path, there, sent):
    (tmp_path / f"{NAME}.part").write_bytes(there)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert sum(r.sent for r in server.requests) == sent


def test_a_silent_server_is_given_up_and_what_arrived_is_kept(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUTS", (1, 0.2))
    monkeypatch.setattr(download, "TRIES", 2)
    server.stalls, server.breaks = True, [1_500_000, 0, 0]
    with pytest.raises(UserError, match=r"cannot be read .*goes on from here.*--url.*--archive"):
        fetch(archive(server), tmp_path)
    assert (tmp_path / f"{NAME}.part").stat().st_size > 1_000_000
    assert not (tmp_path / NAME).exists()


def test_a_wrong_hash_names_file_expected_and_found(server, tmp_path):
    wrong = "0" * 32
    with pytest.raises(UserError) as caught:
        fetch(archive(server, wrong), tmp_path)
    for word in (str(tmp_path / NAME), wrong, MD5, "delete it"):
        assert word in str(caught.value)
    (tmp_path / NAME).unlink()
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_given_file_is_used_where_it_is_and_checked(server, tmp_path):
    file = tmp_path / NAME
    file.write_bytes(CONTENT)
    assert fetch(archive(server), tmp_path / "archives", given={NAME: file}) == file
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="MD5"):
        fetch(archive(server), tmp_path / "archives", given={NAME: file})
    assert not server.requests
    assert file.exists()


def test_a_mirror_is_a_folder_or_a_file_of_this_name(server, tmp_path):
    server.files = {f"mirror/{NAME}": CONTENT}
    gone = Archive(NAME, server.url + "gone/" + NAME, MD5)
    for i, mirrors in enumerate(
        [
            [f"{server.url}mirror/"],
            [f"{server.url}other.zip", f"{server.url}mirror/{NAME}?token=1"],
        ]
    ):
        assert fetch(gone, tmp_path / str(i), mirrors).read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"answers 404 .*--url.*--archive"):
        fetch(gone, tmp_path / "none")
    assert len(server.requests) == 3


def test_no_server_at_all(server, tmp_path):
    server.close()
    with pytest.raises(UserError, match=r"cannot be read \(ConnectionError\)"):
        fetch(archive(server), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk(server, tmp_path):
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*No space left.*make room"):
        fetch(archive(server), tmp_path)
