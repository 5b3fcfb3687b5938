"""Weights files in half precision: half the size, computed with in float32, near in samples."""

import pytest
import torch
from commands import run

import dbim_lightning
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, ImageNoise
from dbim_lightning.weights import read_denoiser
from dbim_lightning.weights.__main__ import halved


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """The same weights in float32 and in float16."""
    folder = tmp_path_factory.mktemp("half")
    source = trained / "checkpoints" / "last.ckpt"
    whole, half = folder / "whole.safetensors", folder / "half.safetensors"
    rights = ["--license", "cc-by-sa-4.0", "--attribution", "All emojis designed by OpenMoji."]
    run("-m", "dbim_lightning.weights", "export", source, "-o", whole)
    run("-m", "dbim_lightning.weights", "export", source, "--half", *rights, "-o", half)
    return whole, half


def test_half_the_size_is_computed_with_in_float32(files):
    whole, half = files
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    weights = read_denoiser(whole).weights
    loaded = dbim_lightning.load(half).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    for key, value in weights.items():
        torch.testing.assert_close(loaded[key], value, rtol=2**-11, atol=2**-25)


def test_samples_differ_by_less_than_a_grey_level_of_eight_bits(files):
    sources = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, half = (
        DBIM(5).sample(denoiser, denoiser.schedule, sources, ImageNoise(0, range(4)))
        for denoiser in map(dbim_lightning.load, files)
    )
    assert 0 < (whole - half).abs().max() < 2 / 255


def test_the_file_says_whose_it_is(files):
    config = read_denoiser(files[1]).config
    assert config["license"] == "cc-by-sa-4.0"
    assert config["attribution"] == "All emojis designed by OpenMoji."
    assert "license" not in read_denoiser(files[0]).config


def test_what_float16_cannot_hold_is_named(files):
    saved = read_denoiser(files[0])
    key = next(iter(saved.weights))
    large = saved._replace(weights=saved.weights | {key: saved.weights[key] + 7e4})
    with pytest.raises(UserError, match=rf"{key} is too large for float16: leave --half out"):
        halved(large)
