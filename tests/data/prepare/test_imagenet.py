"""ImageNet from the official archives, and from archives of class folders."""

import io
import sys
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from archive_server import snapshot, tar_bytes
from scipy.io import savemat

from dbim_lightning.data.prepare import __main__ as command
from dbim_lightning.data.prepare import imagenet, unpack
from dbim_lightning.errors import UserError

CLASSES = ["n02119789", "n02100735", "n01440764"]  # numbered 1 to 3, which is not their order
TRUTH = [3, 1, 1, 2, 3]
TRAIN = {f"{c}/{c}_{i}.JPEG": f"{c}{i}".encode() for c in CLASSES for i in range(4)}
VAL = {f"ILSVRC2012_val_{i:08}.JPEG": f"val{i}".encode() for i in range(1, 6)}
VAL_PLACES = [f"{CLASSES[t - 1]}/{name}" for t, name in zip(TRUTH, VAL, strict=True)]


def devkit():
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    rows = [(i, c, "words") for i, c in enumerate([*CLASSES, "n00001740"], start=1)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, fields)})
    folder = "ILSVRC2012_devkit_t12/data/"
    truth = "".join(f"{number}\n" for number in TRUTH).encode()
    return {folder + imagenet.META: meta.getvalue(), folder + imagenet.TRUTH: truth}


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """The three official archives, with hashes that fit them."""
    inner = {
        f"{c}.tar": tar_bytes({n.split("/")[1]: b for n, b in TRAIN.items() if c in n}, "")
        for c in CLASSES
    }
    made = [tar_bytes(devkit()), tar_bytes(inner, ""), tar_bytes(VAL, "")]
    files = [tmp_path / name for name in imagenet.MD5]
    for file, content in zip(files, made, strict=True):
        file.write_bytes(content)
        monkeypatch.setitem(imagenet.MD5, file.name, md5(content).hexdigest())
    return files


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*files):
        words = ["--archive", *map(str, files)] if files else []
        monkeypatch.setattr(sys, "argv", ["prepare", "imagenet", *words])
        command.main()
        return capsys.readouterr().out

    return run


def images():
    root = Path("data/imagenet")
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.JPEG")}


EXPECTED = {f"train/{name}": content for name, content in TRAIN.items()} | {
    f"test/{place}": content for place, content in zip(VAL_PLACES, VAL.values(), strict=True)
}


def test_official_archives_become_class_folders(run, archives):
    told = run(*reversed(archives))
    assert images() == EXPECTED
    assert "train: 12 images (published: 1,281,167)" in told
    assert "warning: test has 5 images, and not the published 50,000" in told
    choices = "dataset=imagenet_inpaint_center network=adm_imagenet schedule=i2sb"
    assert f"python train.py {choices} training=published\n" in told


def test_a_second_run_does_nothing(run, archives):
    run(*archives)
    before = snapshot(Path("data"))
    assert "All is there" in run()
    assert run() == run(*archives)
    assert snapshot(Path("data")) == before


def test_the_archives_may_come_one_after_the_other(run, archives):
    kit, train, val = archives
    with pytest.raises(UserError, match=r"no train and test images in .*image-net.org"):
        run(kit)
    with pytest.raises(UserError, match="no test images in"):
        run(train)
    run(val)
    assert images() == EXPECTED


@pytest.mark.parametrize("prefix", ["", "./", "ILSVRC/Data/CLS-LOC/"])
def test_archives_of_class_folders(run, tmp_path, prefix):
    members = {f"{prefix}train/{name}": content for name, content in TRAIN.items()}
    values = zip(VAL_PLACES, VAL.values(), strict=True)
    members |= {f"{prefix}val/{place}": content for place, content in values}
    file = tmp_path / "imagenet.tar.gz"
    file.write_bytes(tar_bytes(members | {f"{prefix}test/ILSVRC2012_test_1.JPEG": b""}))
    run(file)
    assert images() == EXPECTED


def test_without_archives_it_says_which_and_where(run):
    with pytest.raises(UserError) as caught:
        run()
    for word in (*imagenet.MD5, "https://image-net.org", "--archive"):
        assert word in str(caught.value)
    assert not Path("data").exists()


def test_validation_images_need_the_devkit(run, archives):
    with pytest.raises(UserError, match=r"give ILSVRC2012_devkit_t12.tar.gz with --archive"):
        run(*archives[1:])


def test_a_wrong_hash(run, archives):
    with archives[2].open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=r"ILSVRC2012_img_val.tar has the MD5 .*delete it"):
        run(*archives)
    assert not images()


def test_interrupted_it_goes_on_and_half_a_split_is_not_taken_for_whole(run, archives, monkeypatch):
    kit, train, val = archives
    copy, copied = unpack.shutil.copyfileobj, []

    def stopping(source, file, length):
        copied.append(file.name)
        if len(copied) == 9:
            raise KeyboardInterrupt
        copy(source, file, length)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="goes on from here"):
        patch.setattr(unpack.shutil, "copyfileobj", stopping)
        run(kit, train, val)
    with pytest.raises(UserError, match=r"lacks a part of ILSVRC2012_img_train.tar"):
        run(val)
    run(train)
    assert images() == EXPECTED


def test_two_archives_of_one_name(run, archives, tmp_path):
    (tmp_path / "other").mkdir()
    other = archives[0].rename(tmp_path / "other" / archives[1].name)
    with pytest.raises(UserError, match="two files have one name"):
        run(archives[1], other)


def test_another_archive_of_the_same_name_is_refused_when_all_is_there(run, archives):
    run(*archives)
    archives[2].write_bytes(archives[2].read_bytes() + b"more")
    with pytest.raises(UserError, match=r"holds the files of another ILSVRC2012_img_val\.tar"):
        run(*archives)


def test_a_new_archive_is_added_when_all_is_there(run, archives, tmp_path):
    run(*archives)
    file = tmp_path / "more.tar"
    file.write_bytes(tar_bytes({f"train/{CLASSES[0]}/{CLASSES[0]}_9.JPEG": b"9"}, ""))
    assert "train: 13 images" in run(file)
    assert "train: 13 images" in run()
