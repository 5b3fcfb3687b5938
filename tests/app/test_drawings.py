"""Pictures in and out of the page."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from dbim_lightning.app import drawings
from dbim_lightning.errors import UserError


def saved(path, image, **options):
    image.save(path, **options)
    return path


def pixels(url):
    content = base64.b64decode(url.removeprefix(drawings.DATA))
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("size", "side"), [(32, 512), (64, 512), (96, 480), (256, 512), (600, 600)]
)
def test_the_side_of_the_pad_is_a_multiple_of_the_bridges_size(size, side):
    assert drawings.pad_side(size) == side


def test_pixels_of_a_source_are_means_of_the_pads():
    values = np.full((512, 512, 3), 255, np.uint8)
    values[:4, :8] = 0  # half of the first pixel at 64 px
    x_T = drawings.source(drawings.url(Image.fromarray(values)), 64)
    assert x_T.shape == (1, 3, 64, 64)
    assert x_T[0, 0, 0, 0] == pytest.approx(0, abs=0.01)
    assert (x_T.flatten(2)[..., 1:] == 1).all()


def test_nothing_drawn_is_a_white_page():
    assert (drawings.source("", 16) == torch.ones(1, 3, 16, 16)).all()


@pytest.mark.parametrize("drawing", ["nonsense", "data:text/html,x", drawings.DATA + "AAAA", "é"])
def test_a_broken_drawing_is_refused(drawing):
    with pytest.raises(UserError, match=r"the drawing is not whole .*: draw again"):
        drawings.source(drawing, 16)


def test_a_drawing_of_another_size_is_refused_before_it_is_decoded():
    large = drawings.url(Image.new("1", (9000, 9000)))
    with pytest.raises(UserError, match=r"\(9000, 9000\) pixels in place of 512"):
        drawings.source(large, 16)


def test_an_upload_is_put_on_a_white_square(tmp_path):
    path = saved(tmp_path / "wide.png", Image.new("RGB", (200, 100), "red"))
    found = pixels(drawings.uploaded(path, 512))
    assert found.shape == (512, 512, 3)
    assert (found[:127] == 255).all()
    assert (found[129:383] == (255, 0, 0)).all()


def test_transparent_is_white(tmp_path):
    path = saved(tmp_path / "clear.png", Image.new("RGBA", (64, 64), (0, 0, 0, 0)))
    assert (pixels(drawings.uploaded(path, 512)) == 255).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_broken_and_huge_uploads_are_refused_by_their_name_alone(tmp_path):
    pdf = tmp_path / "paper.png"
    pdf.write_bytes(b"%PDF-1.7\n%\xe2\xe3\n1 0 obj <<>> endobj\n")
    whole = saved(tmp_path / "whole.png", Image.effect_noise((64, 64), 50)).read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    bad = {
        pdf: "paper.png is not a readable image",
        cut: "cut.png is not a readable image",
        saved(tmp_path / "large.png", Image.new("1", (10_000, 10_000))): "10,000 x 10,000 pixels",
        saved(tmp_path / "dot.png", Image.new("1", (1, 1))): "1 x 1 pixels",
        saved(tmp_path / "line.png", Image.new("1", (8, 20_000))): "8 x 20,000 pixels",
        saved(tmp_path / "vector.png", Image.new("L", (64, 64)), format="EPS"): "is a EPS file",
    }
    for path, message in bad.items():
        with pytest.raises(UserError, match=message) as caught:
            drawings.uploaded(path, 512)
        assert str(tmp_path) not in str(caught.value)


def test_a_strip_has_rows_of_pictures_apart_by_white():
    rows = [torch.full((3, 3, 16, 16), -1.0), torch.zeros(3, 3, 16, 16)]
    values = np.asarray(drawings.strip(rows))
    assert values.shape == (2 * 17 + 1, 3 * 17 + 1, 3)
    assert (values[1:17, 1:17] == 0).all()
    assert (values[18:34, 18:34] == 128).all()
    assert (values[17] == 255).all()
