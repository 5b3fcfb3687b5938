"""DIODE's photos and normals become the published pairs."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from archive_server import encoded, tar_bytes, zip_bytes
from matplotlib import pyplot
from picture_files import picture, tensors
from PIL import Image

from dbim_lightning.data import PackedPairs
from dbim_lightning.data.prepare import diode
from dbim_lightning.errors import UserError


def views(split, number, first=0):
    """Views as DIODE names them: photo, depth, its mask and normals."""
    made = {}
    for i in range(first, first + number):
        name = f"{i // 4:05}_{i // 2:05}_outdoor_{i:03}_010"
        place = f"{split}/outdoor/scene_{i // 4:05}/scan_{i // 2:05}/{name}"
        normals = np.random.default_rng(i).normal(size=(48, 64, 3))
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        normals[:9] = 0
        made[place] = picture(48, 64, 3, seed=i), normals
    return made


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def diode_archives(made, split, tree):
    photos = {f"{place}.png": encoded(photo, "png") for place, (photo, _) in made.items()}
    depth = {f"{place}_depth.npy": b"not needed" for place in made}
    indoors = {f"{split}/indoors/scene_9/scan_9/x.png": b"not needed"}
    normals = {
        f"{place.replace(split, tree, 1)}_normal.npy": npy(normals)
        for place, (_, normals) in made.items()
    }
    return {
        f"{split}.tar.gz": tar_bytes(photos | depth | indoors),
        f"{split}_normals.tar.gz": tar_bytes(normals),
    }


def reference_colours(normals, size, path):
    """One pixel at a time, and rounded by matplotlib, which wrote the published images."""
    height, width = normals.shape[:2]
    small = np.zeros((size, size, 3), np.float32)
    for i in range(size):
        for j in range(size):
            small[i, j] = normals[int(i * height / size), int(j * width / size)]
    lowest = small.min()
    for i, pixel in enumerate(small.reshape(-1, 3)):
        if pixel[0] + pixel[1] + pixel[2] == 0:
            small[i // size, i % size] += lowest
    pyplot.imsave(path, np.clip((small - small.min()) / 2, 0, 1))
    return np.array(Image.open(path).convert("RGB"))


def test_colours_of_normals_in_numbers():
    """By hand: (0, 0, 0) becomes (-0.5, -0.5, -0.5); the least value, -0.5, becomes level 0."""
    normals = np.array([[[0, 0, 0], [0.6, -0.5, 0.5]], [[1, 1, 1], [0.5, 0, 0]]], np.float32)
    expected = [[[0, 0, 0], [140, 0, 127]], [[191, 191, 191], [127, 63, 63]]]
    assert diode.normals_to_colours(normals, 2).tolist() == expected
    assert diode.normals_to_colours(normals, 1).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(("shape", "size"), [((48, 64), 16), ((30, 50), 16), ((16, 16), 16)])
def test_colours_of_normals_are_as_published(tmp_path, shape, size):
    normals = np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[::5] = 0
    expected = reference_colours(normals, size, tmp_path / "normals.png")
    assert np.array_equal(diode.normals_to_colours(normals, size), expected)


@pytest.mark.parametrize("tree", ["train", "train_normals"])
def test_diode_becomes_the_published_pairs(run, server, tmp_path, tree):
    made = views("train", 8)
    server.files = diode_archives(made, "train", tree)
    server.files |= diode_archives(views("val", 3, first=40), "val", tree.replace("train", "val"))
    rows = [[f"./{p}.png", f"./{p}_depth.npy", "mask", f"./{p}_normal.npy"] for p in made]
    rows[2][-1] = "Unavailable"
    lists = {"data_list/train_outdoor.csv": rows, "__MACOSX/data_list/._train_outdoor.csv": [["x"]]}
    server.files["data_list.zip"] = zip_bytes({name: table(rows) for name, rows in lists.items()})
    told = run("diode", "--image-size", 32)
    pairs = PackedPairs("train", "data/diode/32px")
    names = [place.rpartition("/")[2] for place in made]
    assert pairs.contents["names"] == names[:2] + names[3:]
    by_name = dict(zip(names, made.values(), strict=True))
    for pair in pairs:
        photo, normals = by_name[pair["name"]]
        small = Image.fromarray(photo).resize((32, 32), Image.Resampling.BICUBIC)
        colours = reference_colours(normals, 32, tmp_path / "normals.png")
        assert torch.equal(pair["x_0"], tensors(np.array(small)))
        assert torch.equal(pair["x_T"], tensors(colours))
    assert "train: 7 images (published: 16,502)" in told
    assert "test: 3 images\n" in told
    assert "test: without val_outdoor.csv, all outdoor views that have normals are taken" in told
    assert "train: without" not in told
    assert "dataset=diode network=adm_diode training=published dataset.root=" in told
    unpacked = [p for p in Path("data/diode/unpacked").rglob("*") if p.is_file()]
    assert not [p for p in unpacked if "depth" in p.name or "indoors" in p.parts]


def table(rows):
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def test_diode_with_given_lists_and_a_missing_photo(run, server, tmp_path):
    made = views("train", 4)
    server.files = diode_archives(made, "train", "train")
    server.files |= diode_archives(views("val", 2), "val", "val")
    gone = "train/outdoor/scene_00007/scan_00007/00007_00007_outdoor_000_010"
    rows = [[f"{p}.png", "", "", f"{p}_normal.npy"] for p in [*list(made)[:2], gone]]
    for name in ("train_outdoor.csv", "val_outdoor.csv"):
        (tmp_path / name).write_bytes(table([["image", "depth", "mask", "normal"], *rows]))
    options = ["--image-size", 16, "--archive", "train_outdoor.csv"]
    with pytest.raises(UserError, match=r"no image at .*00007_00007_outdoor_000_010.png"):
        run("diode", *options)
    told = run("diode", *options, "--skip-broken")
    assert "train: 2 images" in told
    assert "left out: no image at" in told
    assert "going on without data_list.zip: " in told


def test_normals_that_are_none(tmp_path):
    file = tmp_path / "x_normal.npy"
    for wrong in (b"", b"text", npy(np.zeros((4, 4))), npy(np.full((4, 4, 3), np.nan))):
        file.write_bytes(wrong)
        with pytest.raises(UserError, match=r"x_normal.npy holds no surface normals"):
            diode.read_normals(file)


def test_diode_without_normals(run, server):
    server.files = diode_archives(views("train", 2), "train", "train")
    server.files |= diode_archives(views("val", 2), "val", "val")
    server.files["train_normals.tar.gz"] = tar_bytes({"readme": b""})
    with pytest.raises(UserError, match=r"no outdoor views with normals in .*train_normals.tar.gz"):
        run("diode")
