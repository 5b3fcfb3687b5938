"""Codes of test images and samples, measured and pictured."""

import json

import pytest
import torch
from commands import run
from PIL import Image

from dbim_lightning.evaluation.latents import make_study, statistics

LATENTS = ("-m", "dbim_lightning.evaluation.latents")
PICTURES = ("reconstruction", "interpolation", "other_sources", "changed_sources")


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """The folder, and what was printed."""
    folder = tmp_path_factory.mktemp("latents")
    checkpoint = f"checkpoint={trained}/checkpoints/last.ckpt"
    words = [checkpoint, "metrics=paired", "num_images=5", "nfe=4,20", "-o", str(folder)]
    return folder, run(*LATENTS, *words)


def test_every_way_to_encode_has_its_numbers(measured):
    written = json.loads((measured[0] / "latents.json").read_text())
    assert (written["num_images"], written["precision"]) == (5, "float32")
    rows = {(r["images"], r["steps"], r["clip"], r["nfe"]): r["figures"] for r in written["rows"]}
    assert len(rows) == 16
    for images in ("test", "samples"):
        for clip in (True, False):
            exact, explicit = (rows[images, steps, clip, 20] for steps in ("exact", "explicit"))
            assert exact["psnr"] > 80
            assert 15 < explicit["psnr"] < exact["psnr"]
            assert explicit["calls"] == 20 < exact["calls"]
            assert 0 < exact["missed"] < 2e-5
            assert "missed" not in explicit
        assert rows["samples", "exact", clip, 20]["code_error"] < 1e-2
        assert rows["samples", "explicit", clip, 20]["code_error"] > 1e-2
    assert "code_error" not in rows["test", "exact", True, 4]


def test_the_table_is_printed_and_written(measured):
    folder, printed = measured
    table = (folder / "latents.md").read_text()
    assert table in printed
    assert table.count("\n") == 18
    assert "| test | yes | exact | 20 |" in table
    assert "feature distance" not in table  # which the protocol does not measure


def test_pictures_show_the_images(measured):
    sizes = {name: Image.open(measured[0] / f"{name}.png").size for name in PICTURES}
    side = 98  # of an image of 32 px, enlarged, with its gap
    columns = {"reconstruction": 5, "interpolation": 9, "other_sources": 6, "changed_sources": 5}
    rows = {"reconstruction": 6, "interpolation": 5, "other_sources": 6, "changed_sources": 5}
    for name, (width, height) in sizes.items():
        assert height == rows[name] * side
        assert 0 < width - columns[name] * side < 150


def test_statistics_of_codes():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(20, 3, 64, 64, generator=generator)
    everywhere = torch.ones_like(normal) > 0
    found = statistics(normal, everywhere)
    expected = {"mean": 0, "std": 1, "kurtosis": 3, "neighbours": 0, "images": 0}
    assert found == pytest.approx(expected, abs=0.03)
    smooth = (normal + normal.roll(1, dims=2)) / 2**0.5 + 1  # of neighbours half are correlated
    found = statistics(smooth, everywhere)
    assert (found["mean"], found["images"]) == pytest.approx((1, 0), abs=0.02)
    assert found["neighbours"] == pytest.approx(0.25, abs=0.02)
    alike = (normal + normal[:1]) / 2**0.5
    assert statistics(alike[1:], everywhere[1:])["images"] == pytest.approx(0.5, abs=0.02)
    signs = statistics(normal.sign() * 2, everywhere)
    assert (signs["std"], signs["kurtosis"]) == pytest.approx((2, 1), abs=0.01)
    hole = everywhere.clone()
    hole[..., :40] = False
    assert statistics(normal.where(hole, 7), hole) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sampler.eta=1", "choose sampler=dbim at eta 0 and order 1"),
        ("sampler=dbim_high_order", "choose sampler=dbim at eta 0 and order 1"),
        ("sampler=ddbm", "choose sampler=dbim at eta 0"),
        ("sampler.grid.sigma_max=1e-6", "sigma_max=1e-06 of the sigma grid: use more than"),
        ("samples=elsewhere", "leave samples, save_images out"),
        ("nfe=1", "nfe=1: give whole numbers from 2"),
        ("num_images=1", "num_images=1: give a whole number, 2 or more"),
        ("checkpoint=nowhere.ckpt", "nowhere.ckpt"),
    ],
)
def test_bad_words_are_refused_by_name(trained, tmp_path, word, message):
    words = [f"checkpoint={trained}/checkpoints/last.ckpt", word, "-o", str(tmp_path / "l")]
    assert message in run(*LATENTS, *words, status=1)
    assert not (tmp_path / "l").exists()


def test_what_is_not_said_suits_codes(trained):
    checkpoint = f"checkpoint={trained}/checkpoints/last.ckpt"
    study, asked = make_study([checkpoint, "metrics=paired"], [5])
    assert len(study.data) == 64
    assert "KarrasSigma" in asked["grid"]
    study, asked = make_study([checkpoint, "metrics=paired", "sampler=dbim"], [5])
    assert "KarrasSigma" in asked["grid"]
    words = [checkpoint, "metrics=paired", "sampler/grid=uniform", "num_images=3"]
    study, asked = make_study(words, [5])
    assert len(study.data) == 3
    assert "Uniform" in asked["grid"]
