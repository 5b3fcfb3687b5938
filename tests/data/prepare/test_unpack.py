"""Archives that are hostile, damaged or interrupted."""

import errno
import tarfile
import zipfile

import numpy as np
import pytest
from archive_server import snapshot, special, tar_bytes, zip_bytes

from dbim_lightning.data.prepare import unpack as module
from dbim_lightning.data.prepare.unpack import is_unpacked, require_same, unfinished, unpack
from dbim_lightning.errors import UserError

RANDOM = np.random.default_rng(0)
FILES = {f"a/{i}/{i}.bin": RANDOM.bytes(3000 + 512 * i) for i in range(20)}


def write(path, content):
    path.write_bytes(content)
    return path


def content(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files if p.name[0] != "."}


def everything(name):
    return name


@pytest.mark.parametrize("suffix", ["tar.gz", "tar", "tar.xz", "zip"])
def test_all_files_arrive_once(tmp_path, suffix):
    made = zip_bytes(FILES) if suffix == "zip" else tar_bytes(FILES, suffix[4:])
    archive, folder = write(tmp_path / f"x.{suffix}", made), tmp_path / "out"
    assert not is_unpacked(archive.name, folder)
    unpack(archive, folder, everything)
    assert is_unpacked(archive.name, folder)
    assert content(folder) == FILES
    before = snapshot(folder)
    archive.unlink()
    unpack(archive, folder, everything)
    assert snapshot(folder) == before


def test_place_renames_and_leaves_out(tmp_path):
    archive = write(tmp_path / "x.tar.gz", tar_bytes({"a/1": b"1", "b/2": b"2"}))
    unpack(archive, tmp_path / "out", lambda name: "c/d" if name == "a/1" else None)
    assert content(tmp_path / "out") == {"c/d": b"1"}


def test_a_tar_in_a_tar_is_a_folder(tmp_path):
    inner = {name: tar_bytes({f"{name}_{i}": b"x" * i for i in range(4)}, "") for name in "ab"}
    archive = write(tmp_path / "x.tar", tar_bytes({f"{n}.tar": c for n, c in inner.items()}, ""))
    unpack(archive, tmp_path / "out", everything)
    expected = {f"{name}/{name}_{i}": b"x" * i for name in "ab" for i in range(4)}
    assert content(tmp_path / "out") == expected


def hostile_zip_link():
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    return {"good": b"1", info: b"../../outside"}


def test_tars_deeper_in_one_another_are_refused(tmp_path):
    inner = tar_bytes({"b.tar": tar_bytes({"c": b"1"}, "")}, "")
    archive = write(tmp_path / "x.tar", tar_bytes({"good": b"1", "a.tar": inner}, ""))
    with pytest.raises(UserError, match=r"x\.tar: its member 'b\.tar' is a tar in a tar in a tar"):
        unpack(archive, tmp_path / "out", everything)
    assert list(tmp_path.iterdir()) == [archive]


HOSTILE = {
    "parent": (tar_bytes({"good": b"1", "../x": b"2"}), "'../x'"),
    "deep parent": (tar_bytes({"a/b/../../../x": b"2"}), "a/b/../../../x"),
    "absolute": (tar_bytes({"/tmp/hostile-x": b"2"}), "/tmp/hostile-x"),
    "backslashes": (tar_bytes({"..\\x": b"2"}), "x"),
    "drive": (tar_bytes({"C:\\x": b"2"}), "C:"),
    "symlink": (
        tar_bytes({"l": special("l", tarfile.SYMTYPE, "../outside"), "l/x": b"2"}),
        "'l'",
    ),
    "hard link": (tar_bytes({"l": special("l", tarfile.LNKTYPE, "../outside/file")}), "'l'"),
    "fifo": (tar_bytes({"f": special("f", tarfile.FIFOTYPE)}), "'f'"),
    "device": (tar_bytes({"d": special("d", tarfile.CHRTYPE)}), "'d'"),
    "in a tar": (tar_bytes({"in.tar": tar_bytes({"../../x": b"2"}, "")}), "../../x"),
    "zip parent": (zip_bytes({"good": b"1", "../x": b"2"}), "'../x'"),
    "zip absolute": (zip_bytes({"/tmp/hostile-x": b"2"}), "/tmp/hostile-x"),
    "zip link": (zip_bytes(hostile_zip_link()), "'link'"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_named_and_write_nothing_outside(tmp_path, kind):
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside" / "file", b"mine")
    made, member = HOSTILE[kind]
    archive = write(tmp_path / ("x.zip" if kind.startswith("zip") else "x.tar.gz"), made)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="do not use this archive") as caught:
        unpack(archive, tmp_path / "in" / "out", everything)
    assert member in str(caught.value)
    assert set(tmp_path.rglob("*")) == before
    assert (tmp_path / "outside" / "file").read_bytes() == b"mine"


WHOLE = {"x.tar.gz": tar_bytes(FILES), "x.tar": tar_bytes(FILES, ""), "x.zip": zip_bytes(FILES)}


def boundary(number):
    """Where a tar has been cut, so that it ends with a whole member."""
    sizes = [len(c) for c in list(FILES.values())[:number]]
    return sum(512 + -(-size // 512) * 512 for size in sizes)


@pytest.mark.parametrize(
    ("name", "length"),
    [(name, length) for name in WHOLE for length in (0, 100, 5000, -9000)]
    + [("x.tar.gz", -2), ("x.zip", -2), ("x.tar", boundary(3)), ("x.tar", boundary(3) + 99)],
)
def test_archives_that_are_cut_short_are_named(tmp_path, name, length):
    archive = write(tmp_path / name, WHOLE[name][:length])
    with pytest.raises(UserError, match=r"damaged or cut short .*delete it") as caught:
        unpack(archive, tmp_path / "out", everything)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_flipped_byte_is_noticed(tmp_path):
    made = bytearray(WHOLE["x.tar.gz"])
    made[len(made) // 2] ^= 255
    with pytest.raises(UserError, match="damaged"):
        unpack(write(tmp_path / "x.tar.gz", made), tmp_path / "out", everything)


@pytest.mark.parametrize("name", WHOLE)
def test_interrupted_unpacking_goes_on_and_keeps_whole_files(tmp_path, name, monkeypatch):
    archive, folder, copied = write(tmp_path / name, WHOLE[name]), tmp_path / "out", []
    copy = module.shutil.copyfileobj

    def stopping(source, file, length):
        copied.append(file.name)
        if len(copied) == 8:
            file.write(source.read(1000))
            raise KeyboardInterrupt
        copy(source, file, length)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "copyfileobj", stopping)
        unpack(archive, folder, everything)
    assert unfinished(folder) == [name]
    assert not is_unpacked(name, folder)
    kept = {path: value for path, value in snapshot(folder).items() if path.endswith(".bin")}
    assert len(kept) == 7
    (folder / "a/0/0.bin").write_bytes(b"short")
    unpack(archive, folder, everything)
    assert content(folder) == FILES
    assert unfinished(folder) == []
    after = snapshot(folder)
    assert all(after[path] == value for path, value in kept.items() if path != "a/0/0.bin")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", full)
    archive = write(tmp_path / "x.tar", WHOLE["x.tar"])
    with pytest.raises(UserError, match=r"cannot write .*No space left.*run the command again"):
        unpack(archive, tmp_path / "out", everything)
    assert content(tmp_path / "out") == {}


def test_another_archive_of_the_same_name_is_not_mixed_with_it(tmp_path):
    archive, folder = write(tmp_path / "x.tar", WHOLE["x.tar"]), tmp_path / "out"
    unpack(archive, folder, everything)
    require_same(archive, folder)
    write(archive, tar_bytes({"b": b"1"}, ""))
    with pytest.raises(UserError, match=r"out holds the files of another x\.tar, of [\d,]+ bytes"):
        require_same(archive, folder)
    (folder / ".x.tar.unpacked").write_text("")  # as earlier versions did
    require_same(archive, folder)


def test_a_damaged_archive_takes_back_what_it_wrote_alone(tmp_path):
    archive, folder = write(tmp_path / "x.tar", WHOLE["x.tar"][:9000]), tmp_path / "out"
    (folder / "a/0").mkdir(parents=True)
    write(folder / ".x.tar.unpacking", b"1")  # of a run that was killed after one file
    write(folder / "a/0/0.bin", FILES["a/0/0.bin"])
    with pytest.raises(UserError, match="damaged"):
        unpack(archive, folder, everything)
    assert content(folder) == {"a/0/0.bin": FILES["a/0/0.bin"]}
    assert unfinished(folder) == ["x.tar"] and [p.name for p in (folder / "a").iterdir()] == ["0"]
    unpack(write(archive, WHOLE["x.tar"]), folder, everything)
    require_same(archive, folder)
    assert content(folder) == FILES


def test_a_disk_that_fills_keeps_what_is_whole(tmp_path, monkeypatch):
    copied = []

    def filling(source, file, length):
        if copied:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(file.write(source.read()))

    archive = write(tmp_path / "x.tar", WHOLE["x.tar"])
    monkeypatch.setattr(module.shutil, "copyfileobj", filling)
    with pytest.raises(UserError, match="No space left"):
        unpack(archive, tmp_path / "out", everything)
    assert len(content(tmp_path / "out")) == 1 and unfinished(tmp_path / "out") == ["x.tar"]
