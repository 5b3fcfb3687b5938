"""One range for all files of more than 8 bits."""

import numpy as np
import pytest
from picture_files import save

from dbim_lightning.data.images import read_image
from dbim_lightning.data.ranges import require_range, span_of
from dbim_lightning.errors import UserError


def files_of(folder, *arrays):
    return [save(folder / f"{i}.tif", np.asarray(array)) for i, array in enumerate(arrays)]


def levels(path, span):
    return np.array(read_image(path, span))[..., 0].ravel().tolist()


def whole(*values, dtype=np.uint16):
    return np.array([values], dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_maps_of_ids_and_small_numbers_are_what_they_are(tmp_path, dtype):
    paths = files_of(tmp_path, whole(0, 7, 20, dtype=dtype), whole(3, 255, 1, dtype=dtype))
    span = span_of(paths, "auto", "ids")
    assert [levels(path, span) for path in paths] == [[0, 7, 20], [3, 255, 1]]


@pytest.mark.parametrize(
    ("values", "how", "expected"),
    [
        ((0, 2048, 4096), "auto", [0, 128, 255]),
        ((1000, 3000, 5000), "auto", [0, 128, 255]),
        ((0, 256, 65535), "auto", [0, 1, 255]),
        ((0, 32768, 40000), "auto", [0, 128, 156]),
        ((0, 300, 1000), "8bit", [0, 255, 255]),
        ((0, 300, 1000), "16bit", [0, 1, 3]),
        ((0, 100, 200), "minmax", [0, 128, 255]),
        ((0, 500, 2000), [0, 1000], [0, 128, 255]),
    ],
)
def test_the_choice_decides(tmp_path, values, how, expected):
    (path,) = files_of(tmp_path, whole(*values))
    assert levels(path, span_of([path], how, "x")) == expected


def test_all_files_have_one_range(tmp_path, capsys):
    paths = files_of(tmp_path, whole(0, 0), whole(500, 500), whole(1000, 1000))
    span = span_of(paths, "auto", "depths")
    assert [levels(path, span)[0] for path in paths] == [0, 128, 255]
    told = capsys.readouterr().out
    assert "depths: 3 files of more than 8 bits, 0 to 1000; 0 becomes black and 1000 white" in told
    assert "dataset.range=[0,1000]" in told
    span_of(paths, [0, 600], "cut")
    assert "1 files have values outside, which are clipped" in capsys.readouterr().out


def test_negative_numbers_and_floats_are_stretched(tmp_path):
    (path,) = files_of(tmp_path / "int", whole(-10, 0, 10, dtype=np.int32))
    assert levels(path, span_of([path], "auto", "x")) == [0, 128, 255]
    (path,) = files_of(tmp_path / "float", np.array([[0.0, 0.25, 1.0]], np.float32))
    assert levels(path, span_of([path], "auto", "x")) == [0, 64, 255]
    assert levels(path, span_of([path], [0.0, 2.0], "x")) == [0, 32, 128]


def test_what_has_no_range_is_named(tmp_path):
    (path,) = files_of(tmp_path / "nan", np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(UserError, match=r"nan/0\.tif has values that are no numbers"):
        span_of([path], "auto", "x")
    (path,) = files_of(tmp_path / "one", whole(900, 900))
    with pytest.raises(UserError, match=r"depths have the value 900 alone: give dataset\.range"):
        span_of([path], "auto", "depths")
    pairs = [1, 0], [0, np.inf], [0, "auto"], ["16bit", "8bit"], [[0, 1], [0, 2]]
    for how in ("12bit", [1], *pairs):
        with pytest.raises(UserError, match=r"dataset\.range="):
            require_range(how)


def test_images_of_8_bits_are_not_looked_at_and_broken_ones_are_left_to_others(tmp_path):
    (tmp_path / "empty.png").touch()
    grey = save(tmp_path / "grey.png", np.full((2, 2), 9, np.uint8))
    paths = [tmp_path / "empty.png", tmp_path / "gone.png", tmp_path / "photo.jpg", grey]
    assert span_of(paths, "auto", "x") is None


def test_without_a_check_images_that_are_no_numbers_are_left_to_readers(tmp_path, capsys):
    paths = files_of(tmp_path, np.array([[0, np.nan]], np.float32), np.array([[0, 1]], np.float32))
    span = span_of(paths, "auto", "x", check=False)
    assert span == (0, 1)
    assert "files of 8 bits" not in capsys.readouterr().out
    grey = save(tmp_path / "grey.png", np.full((2, 2), 9, np.uint8))
    span_of([*paths, grey, tmp_path / "photo.jpg", tmp_path / "gone.tif"], "auto", "x", check=False)
    assert "2 files of 8 bits are 0 to 255" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"0\.tif is not .*no numbers"):
        read_image(paths[0], span)
