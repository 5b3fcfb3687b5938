"""The command, from an archive of strips on a server to what training reads."""

import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from archive_server import encoded, snapshot, tar_bytes
from picture_files import picture, tensors
from PIL import Image

from dbim_lightning.data import PackedPairs
from dbim_lightning.data.prepare import edges2handbags
from dbim_lightning.errors import UserError

ROOT = Path(__file__).parents[3]
NAME = "edges2handbags.tar.gz"


def strip(seed):
    """512x256: smooth colours, so that JPEG changes little."""
    small = Image.fromarray(picture(4, 8, 3, seed=seed))
    return np.array(small.resize((512, 256), Image.Resampling.BICUBIC))


def strips(train=12, val=3):
    members = {f"edges2handbags/train/{i}_AB.jpg": encoded(strip(i)) for i in range(1, train + 1)}
    members |= {f"edges2handbags/val/{i}_AB.jpg": encoded(strip(99 + i)) for i in range(1, val + 1)}
    return members


@pytest.fixture
def server(server):
    server.files[NAME] = tar_bytes(strips())
    return server


def test_edges2handbags_becomes_the_published_pairs(run, server):
    told = run("edges2handbags")
    assert [r.path for r in server.requests] == [f"/{NAME}"]
    pairs = PackedPairs("train", "data/edges2handbags/64px")
    assert pairs.contents["names"] == sorted(f"{i}_AB" for i in range(1, 13))
    assert len(PackedPairs("validation", "data/edges2handbags/64px")) == 3
    for pair in pairs:
        jpeg = Image.open(io.BytesIO(encoded(strip(int(pair["name"].split("_")[0])))))
        for key, box in {"x_T": (0, 0, 256, 256), "x_0": (256, 0, 512, 256)}.items():
            half = jpeg.crop(box).resize((64, 64), Image.Resampling.BICUBIC)
            assert torch.equal(pair[key], tensors(np.array(half)))
    assert "train: 12 images (published: 138,567)" in told
    assert "test: 3 images (published: 200)" in told
    assert "warning: train has 12 images, and not the published 138,567" in told
    assert "python train.py dataset=edges2handbags network=adm_e2h training=published\n" in told


def test_a_second_run_does_nothing(run, server):
    first = run("edges2handbags")
    server.requests.clear()
    before = snapshot(Path("data"))
    assert run("edges2handbags") == first[first.index("All is") :]
    assert snapshot(Path("data")) == before
    shutil.rmtree("data/edges2handbags/archives")
    shutil.rmtree("data/edges2handbags/unpacked")
    assert "All is there" in run("edges2handbags")
    assert not server.requests


def test_another_size_and_root_come_from_the_same_archive(run, server, tmp_path):
    run("edges2handbags", "--root", tmp_path / "else")
    told = run("edges2handbags", "--root", tmp_path / "else", "--image-size", 32)
    assert len(server.requests) == 1
    folder = tmp_path / "else/edges2handbags/32px"
    assert PackedPairs("train", folder)[0]["x_0"].shape == (3, 32, 32)
    assert f"training=published dataset.root={folder}\n" in told


def test_a_given_archive_needs_no_server(run, server, tmp_path):
    (tmp_path / "there").mkdir()
    file = tmp_path / "there" / NAME
    file.write_bytes(server.files[NAME])
    assert "train: 12 images" in run("edges2handbags", "--archive", file, url=None)
    assert not server.requests


def test_interrupted_while_packing_it_goes_on(run, server, monkeypatch):
    read, count = edges2handbags.read_image, 0

    def stopping(path):
        nonlocal count
        count += 1
        if count == 13:  # the first of test, when train is whole
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(edges2handbags, "read_image", stopping)
    with pytest.raises(SystemExit, match="interrupted: the same command goes on from here"):
        run("edges2handbags")
    train = Path("data/edges2handbags/64px/train")
    before = snapshot(train)
    assert before
    assert "test: 3 images" in run("edges2handbags")
    assert snapshot(train) == before
    assert count == 16
    assert len(server.requests) == 1


def test_broken_images_stop_it_or_are_left_out_by_name(run, server):
    members = strips()
    members["edges2handbags/train/5_AB.jpg"] = members["edges2handbags/train/5_AB.jpg"][:900]
    server.files[NAME] = tar_bytes(members)
    with pytest.raises(UserError, match=r"5_AB.jpg is not a readable image .*--skip-broken"):
        run("edges2handbags")
    told = run("edges2handbags", "--skip-broken")
    assert "train: 11 images" in told
    assert "left out: " in told and "5_AB.jpg" in told
    assert len(server.requests) == 1
    assert told.split("All is")[1] == run("edges2handbags").split("All is")[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>moved</html>", "damaged or cut short"),
        (tar_bytes(strips())[:-5000], "damaged or cut short"),
        (tar_bytes({"photos/1.jpg": b"x"}), "no strips in .*edges2handbags/train"),
        (tar_bytes(strips() | {"../x": b"x"}), "'../x' would leave its folder"),
    ],
)
def test_a_useless_archive_is_one_error_and_no_pairs(run, server, tmp_path, content, message):
    server.files[NAME] = content
    with pytest.raises(UserError, match=message):
        run("edges2handbags")
    assert not (tmp_path / "data/edges2handbags/64px/train").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--archive", "missing.tar.gz"], "missing.tar.gz: no such file"),
        (["--archive", __file__], "the names are edges2handbags.tar.gz"),
        (["--url", "http://x/other.zip"], "http://x/other.zip: it is http…/ or"),
        (["--image-size", "0"], "--image-size has to be 1 or more"),
    ],
)
def test_options_that_fit_nothing(run, options, message):
    with pytest.raises(UserError, match=message):
        run("edges2handbags", *options)


def test_a_command_that_is_killed_goes_on(server, tmp_path):
    words = [sys.executable, "-m", "dbim_lightning.data.prepare", "edges2handbags"]
    words += ["--root", str(tmp_path), "--url", server.url + NAME, "--workers", "1"]
    server.files[NAME] = tar_bytes(strips() | {"readme": np.random.default_rng(0).bytes(1_000_000)})
    server.stalls, server.breaks = True, [600_000]
    process = subprocess.Popen(words, cwd=ROOT)
    assert server.broken.wait(60)
    part = tmp_path / "edges2handbags" / "archives" / f"{NAME}.part"
    while not part.exists() or not part.stat().st_size:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert server.requests[-1].range not in (None, "bytes=0-")
    assert "train: 12 images" in done.stdout
    assert f"dataset.root={tmp_path}/edges2handbags/64px" in done.stdout
    bad = subprocess.run(
        [*words, "--archive", "no.tar"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stderr) == (1, "error: --archive no.tar: no such file\n")


def test_another_archive_of_the_same_name_is_refused(run, server, tmp_path):
    run("edges2handbags")
    file = tmp_path / NAME
    file.write_bytes(server.files[NAME])
    assert "train: 12 images" in run("edges2handbags", "--archive", file, url=None)
    file.write_bytes(tar_bytes(strips(5)))
    with pytest.raises(UserError, match=rf"unpacked holds the files of another {NAME}, of"):
        run("edges2handbags", "--archive", file, url=None)
