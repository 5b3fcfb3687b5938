"""Samples of another program, in a folder and as an array."""

import numpy as np
import pytest
import torch
from given_files import IMAGES, SAMPLES, pairs, samples, write
from picture_files import picture, save
from torch.utils.data import Subset

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.pictures import to_uint8


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("{:03}.x", "{:03}.x"),
        ("class/{:03}", "class/{:03}"),
        ("class/{:03}", "{:03}"),
        ("{:03}", "{:03}"),
        ("emoji-{}", "{}"),
        ("emoji-{}", "{:06}"),
    ],
)
def test_folder_by_name_or_by_index(tmp_path, name, file):
    given = GivenSamples(write(tmp_path, file), pairs(name))
    assert np.array_equal(samples(given), SAMPLES)
    assert len(given.blocks) == 2


def test_index_is_that_in_the_data_set(tmp_path):
    chosen = [40, 3, 65]
    for i in chosen:
        save(tmp_path / f"{i}.png", SAMPLES[i])
    (images,) = GivenSamples(tmp_path, Subset(pairs(), chosen))
    assert images.index.tolist() == chosen
    assert images.position.tolist() == [0, 1, 2]
    assert torch.equal(images.targets, to_uint8(IMAGES[chosen, 0]))
    assert torch.equal(images.sources, to_uint8(IMAGES[chosen, 1]))
    assert np.array_equal(images.samples.permute(0, 2, 3, 1).numpy(), SAMPLES[chosen])


def test_array_by_position_over_ranks(tmp_path):
    np.savez_compressed(tmp_path / "samples.npz", SAMPLES)
    ranks = [GivenSamples(tmp_path / "samples.npz", pairs(), rank, 2) for rank in range(2)]
    assert np.array_equal(samples(ranks[0]), SAMPLES[:64])
    assert np.array_equal(samples(ranks[1]), SAMPLES[64:])


def test_bad_images_are_named(tmp_path):
    write(tmp_path, "{:03}.x")
    save(tmp_path / "002.x.png", picture(4, 4, 3))
    with pytest.raises(UserError, match=r"002\.x\.png is 4x4, but its pair is 6x4: write"):
        list(GivenSamples(tmp_path, pairs()))
    (tmp_path / "001.x.png").write_bytes((tmp_path / "000.x.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"001\.x\.png is not a readable image"):
        list(GivenSamples(tmp_path, pairs()))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"samples": SAMPLES}, r"samples\.npz has no arr_0: save with np\.savez"),
        ({"arr_0": SAMPLES / 255}, "is float64: save levels 0 to 255 as uint8"),
        ({"arr_0": SAMPLES[1:]}, r"is \(69, 4, 6, 3\), but the data are \(70, 4, 6, 3\)"),
        ({"arr_0": SAMPLES[:, :2]}, r"is \(70, 2, 6, 3\), but"),
        ({"arr_0": SAMPLES.astype(object)}, "is object: save levels"),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(UserError, match=message):
        GivenSamples(tmp_path / "samples.npz", pairs())


def test_files_that_are_no_arrays(tmp_path):
    path = tmp_path / "samples.npz"
    with pytest.raises(UserError, match=r"no samples at .*name a folder of images or an \.npz"):
        GivenSamples(path, pairs())
    np.savez_compressed(path, SAMPLES)
    whole = path.read_bytes()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    with (tmp_path / "array").open("wb") as file:
        np.save(file, SAMPLES)
    for content in (b"", b"text", whole[:3000], flipped, (tmp_path / "array").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"samples\.npz is not a readable \.npz \(.*write it"):
            GivenSamples(path, pairs())
