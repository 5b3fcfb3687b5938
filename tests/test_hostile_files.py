"""Weights, arrays, images and records whose content is broken or made to harm: one line each."""

import json
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hostile_files import Bomb, hostile_arrays, huge_png, npy, zip_bomb
from safetensors.torch import save_file

from dbim_lightning.archives import array, opened_arrays, require_no_bomb
from dbim_lightning.data import PackedPairs
from dbim_lightning.data.images import image_dimensions, read_image
from dbim_lightning.data.masks import read_mask
from dbim_lightning.data.openmoji import OpenMoji, cache_path
from dbim_lightning.data.packed import pack
from dbim_lightning.data.prepare.diode import read_normals
from dbim_lightning.data.prepare.unpack import unpack
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.features.weights_files import reading, require_tensors
from dbim_lightning.evaluation.references.files import read_reference
from dbim_lightning.evaluation.report.results import read_row
from dbim_lightning.evaluation.report.rows import find_jobs
from dbim_lightning.evaluation.report.sheets import _arrays
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.files import write_json
from dbim_lightning.training.folder import finished_at
from dbim_lightning.weights import CONFIG_KEY, read_denoiser, read_samplers

CONFIG = {"denoiser": {"schedule": {}}}
WEIGHTS = {"denoiser.w": torch.ones(2)}
GOOD = {"global_step": 1, "current_model_state": {}, "state_dict": WEIGHTS, CONFIG_KEY: CONFIG}


def refused(call, *arguments, match):
    with pytest.raises(UserError, match=match) as error:
        call(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer_states": [{"state": Bomb()}]}, "could run any code"),
        ({"state_dict": 3}, "no weights of a denoiser"),
        ({"state_dict": {3: torch.ones(1)}}, "no weights of a denoiser"),
        ({"state_dict": {"denoiser.w": "x"}}, "no weights of a denoiser"),
        ({"state_dict": {"denoiser.w": torch.ones(1).expand(1 << 40)}}, "repeats itself"),
        ({"state_dict": {"denoiser.w": torch.ones(1).to_sparse()}}, "sparse"),
        ({"global_step": "x"}, "global_step='x' is no number of steps"),
        ({"global_step": -1}, "is no number of steps"),
        ({"global_step": None}, "is no number of steps"),
        ({CONFIG_KEY: [1]}, "describes no denoiser"),
        ({CONFIG_KEY: {"denoiser": 3}}, "describes no denoiser"),
        ({CONFIG_KEY: {**CONFIG, "evaluation": 3}}, "describes no denoiser"),
        ({CONFIG_KEY: {**CONFIG, "evaluation": {"metrics": 3}}}, "describes no denoiser"),
    ],
)
def test_checkpoints(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    torch.save(GOOD, "good.ckpt")
    assert read_denoiser(Path("good.ckpt")).step == 1
    torch.save(GOOD | changes, "a.ckpt")
    refused(read_denoiser, Path("a.ckpt"), match=message)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({CONFIG_KEY: "{", "step": "1"}, "describes no denoiser"),
        ({CONFIG_KEY: "[1]", "step": "1"}, "describes no denoiser"),
        ({CONFIG_KEY: "[" * 100_000, "step": "1"}, "describes no denoiser"),
        ({CONFIG_KEY: json.dumps(CONFIG)}, "step=None is no number"),
        ({CONFIG_KEY: json.dumps(CONFIG), "step": "9" * 5000}, "is no number of steps"),
    ],
)
def test_metadata_of_weights_files(tmp_path, metadata, message):
    save_file({"w": torch.ones(2)}, path := tmp_path / "a.safetensors", metadata)
    refused(read_denoiser, path, match=message)


@pytest.mark.parametrize("header", [struct.pack("<Q", 10 << 30) + b"{}", b"", b"\xff" * 64])
def test_headers_of_weights_files(tmp_path, header):
    (path := tmp_path / "a.safetensors").write_bytes(header)
    for read in (read_denoiser, read_samplers):
        refused(read, path, match="is not whole")


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    return zip_bomb(tmp_path_factory.mktemp("bomb") / "a.npz", "arr_0.npy")


@pytest.fixture
def pairs():
    image = torch.zeros(3, 4, 4)
    return [{"x_0": image, "x_T": image, "index": i, "name": str(i)} for i in range(2)]


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_arrays(tmp_path, monkeypatch, bomb, pairs):
    monkeypatch.chdir(tmp_path)

    class Network(FeatureNetwork):
        name, num_features = "n", 3

    for path in (bomb, *hostile_arrays(tmp_path)):
        refused(GivenSamples, path, pairs, match=path.name)
        refused(_arrays, path, match=f"{path.name} cannot be read")
        refused(read_reference, path, Network(), 4, "cpu", match=path.name)
        refused(read_mask, str(path), 0, 256, (0.1, 0.2), match=path.name)
    assert not Path("ran").exists()
    with pytest.raises(zipfile.BadZipFile, match=r"would unpack to 1\.1 GB"), opened_arrays(bomb):
        pass


def test_an_array_of_another_shape_or_type_is_refused(tmp_path):
    with opened_arrays(npz(tmp_path / "a.npz", arr_0=np.zeros((2, 3), np.uint8))) as arrays:
        assert array(arrays, "arr_0", (-1, 3), np.uint8).shape == (2, 3)
        for shape, kind in (((2,), np.uint8), ((3, 3), np.uint8), ((2, 3), np.float32)):
            with pytest.raises(ValueError, match=r"arr_0 is uint8 \(2, 3\), not"):
                array(arrays, "arr_0", shape, kind)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_huge_arrays_are_refused_by_their_header(tmp_path):
    content = npy("<f4", (1 << 40, 1_000_000, 3))
    (path := tmp_path / "a.npy").write_bytes(content)
    refused(read_normals, path, match="holds no surface normals")
    (cache := cache_path(tmp_path, 32)).write_bytes(content)
    refused(OpenMoji, "train", 32, tmp_path, match="delete it, to be drawn again")
    np.save(cache.open("wb"), np.array([Bomb()], object))
    refused(OpenMoji, "train", 32, tmp_path, match="delete it, to be drawn again")


def test_a_checkpoint_that_is_a_bomb(bomb, tmp_path):
    (path := tmp_path / "a.ckpt").write_bytes(bomb.read_bytes())
    refused(read_denoiser, path, match=r"would unpack to 1\.1 GB")


def test_a_large_archive_of_large_files_is_none():
    archive = SimpleNamespace(infolist=lambda: [SimpleNamespace(file_size=3 << 30)])
    require_no_bomb(archive, 1 << 30)
    with pytest.raises(zipfile.BadZipFile, match=r"would unpack to 3\.2 GB from 1,048,576 bytes"):
        require_no_bomb(archive, 1 << 20)


def test_an_archive_that_is_a_bomb(bomb, tmp_path):
    (path := tmp_path / "a.zip").write_bytes(bomb.read_bytes())
    refused(unpack, path, tmp_path / "out", lambda name: name, match="BadZipFile")
    assert not list((tmp_path / "out").glob("arr_0*"))


def test_an_image_of_60000_pixels_square(tmp_path):
    path = huge_png(tmp_path / "a.png")
    for read in (read_image, image_dimensions):
        refused(read, path, match=r"a\.png is not a readable image \(Image size")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": 3}, "another type"),
        ({"names": ["a", 3]}, "another type"),
        ({"labels": [1]}, "another type"),
        ({"labels": ["a", "b"]}, "another type"),
        ({"image_size": "4"}, "another type"),
        ({"image_size": 1 << 40}, "another type"),
        ({"image_size": 0}, "another type"),
        ({"image_size": 60_000}, r"has 192 bytes, not the 43200000000 "),
        ({"hole": "x"}, "another type"),
        ({"format": 2}, "of format 1"),
    ],
)
def test_packed_pairs(tmp_path, pairs, changes, message):
    pack(pairs, folder := tmp_path / "train")
    contents = json.loads((folder / "pairs.json").read_text())
    write_json(folder / "pairs.json", contents | changes)
    refused(PackedPairs, "train", tmp_path, match=message)
    del contents[next(iter(changes))]
    write_json(folder / "pairs.json", contents)
    refused(PackedPairs, "train", tmp_path, match=r"another type|format")
    for broken in ("{", "[]", "[" * 100_000):
        (folder / "pairs.json").write_text(broken)
        refused(PackedPairs, "train", tmp_path, match="pairs.json")


def test_what_packed_pairs_were_made_with_is_a_text_that_is_never_made(tmp_path, pairs):
    node = {"_target_": "os.mkdir", "path": str(tmp_path / "made"), "_partial_": False}
    pack(pairs, folder := tmp_path / "train", options={"corruption": node})
    settled = PackedPairs("train", tmp_path).settled["made_with"]["corruption"]
    assert settled == {"target": "os.mkdir", "path": node["path"], "partial": False}
    for options in ("${oc.env:HOME}", 3):
        made_from = {"options": {"a": options} if options != 3 else 3, "files": {}}
        write_json(folder / "made_from.json", made_from)
        refused(PackedPairs, "train", tmp_path, match="made_from.json")


HUGE = json.dumps({"name": "0", "label": None, "image_size": 1 << 40, "hole": None})


@pytest.mark.parametrize(
    "line", ["{", "3", '{"name": "0"}', '{"name": "0", "image_size": "4"}', HUGE]
)
def test_a_broken_journal(tmp_path, pairs, line):
    pack(pairs, folder := tmp_path / "train")
    part = folder.rename(tmp_path / "train.part")
    (part / "pairs.json").unlink()
    (part / "journal.jsonl").write_text(f"{line}\n")
    refused(pack, pairs, folder, match=r"journal\.jsonl is not whole")


ROW = {
    "format": 2,
    "protocol": {},
    "sampler": "a",
    "nfe": 2,
    "seed": 0,
    "num_images": 2,
    "origin": {},
    "metrics": {"mse": 1.0},
    "cost": {},
    "baselines": {},
    "columns": {"mse": {"title": "MSE", "digits": 4, "better": "↓"}},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": 3}, "metrics is no object"),
        ({"metrics": {"mse": "x"}}, "odd values"),
        ({"nfe": "x"}, "odd values"),
        ({"columns": {"mse": 3}}, "odd values"),
        ({"columns": {"mse": {"digits": 4}}}, "odd values"),
        ({"columns": {"mse": {"title": "a", "digits": 10**9, "better": ""}}}, "odd values"),
        ({"baselines": {"source": 3}}, "odd values"),
    ],
)
def test_rows(tmp_path, changes, message):
    write_json(path := tmp_path / "results.json", ROW)
    assert len(find_jobs(tmp_path)) == 1
    write_json(path, ROW | changes)
    refused(find_jobs, tmp_path, match=message)
    for broken in ("{", "[]", "[" * 100_000, "\udcff"):
        path.write_bytes(broken.encode(errors="surrogateescape"))
        refused(read_row, path, match=r"results\.json")


def test_the_record_of_a_finished_run(tmp_path):
    for content in ("{", "[]", "{}", '{"step": "x"}'):
        (tmp_path / "training.json").write_text(content)
        refused(finished_at, tmp_path, match=r"training\.json")


def test_published_weights_hold_tensors_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Bomb()}, path := Path("vgg16.pth"))
    with pytest.raises(UserError, match="cannot use the weights file"), reading(path):
        require_tensors(path)
    assert not Path("ran").exists()
