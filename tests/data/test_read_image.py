import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import picture, save, tensors
from PIL import Image

from dbim_lightning.data.images import image_dimensions, image_names, read_image, to_tensor
from dbim_lightning.errors import UserError


def png_16_bit(path: Path, pixels: np.ndarray) -> Path:
    """A PNG of 16 bits per channel, grey (H, W) or RGB (H, W, 3), which Pillow cannot write."""
    height, width = pixels.shape[:2]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_modes_become_rgb(tmp_path):
    rgb, grey = picture(16, 16, 3), picture(16, 16)
    as_rgb = np.stack([grey] * 3, -1)
    deep = grey.astype(np.uint16) * 256 + picture(16, 16, seed=1)
    deep_rgb = rgb.astype(np.uint16) * 256 + 200
    clear = np.dstack([rgb, np.where(grey < 128, 0, 255).astype(np.uint8)])
    palette = Image.fromarray(grey // 64 * 64).convert("P")
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "clear_palette.png", transparency=int(np.asarray(palette)[0, 0]))
    hole = np.asarray(palette) == np.asarray(palette)[0, 0]
    quarters = as_rgb // 64 * 64
    expected = {
        save(tmp_path / "rgb.png", rgb): rgb,
        save(tmp_path / "grey.png", grey): as_rgb,
        save(tmp_path / "grey.tif", deep): as_rgb,
        save(tmp_path / "rgba.png", clear): np.where(grey[..., None] < 128, 255, rgb),
        save(tmp_path / "bits.png", grey > 127): np.where(as_rgb > 127, 255, 0),
        png_16_bit(tmp_path / "deep.png", deep): as_rgb,
        png_16_bit(tmp_path / "deep_rgb.png", deep_rgb): rgb,
        tmp_path / "palette.png": quarters,
        tmp_path / "clear_palette.png": np.where(hole[..., None], 255, quarters),
    }
    for path, pixels in expected.items():
        assert np.array_equal(np.array(read_image(path)), pixels), path.name
        assert torch.equal(to_tensor(read_image(path)), tensors(pixels.astype(np.uint8)))


@pytest.mark.parametrize("span", [None, (0, 1000)])
def test_transparent_values_of_16_bits_become_white(tmp_path, span):
    values = np.array([[0, 500, 1000]], np.uint16)
    plain = np.array(read_image(save(tmp_path / "plain.png", values), span))
    clear = np.array(read_image(save(tmp_path / "clear.png", values, transparency=500), span))
    assert np.array_equal(clear[:, ::2], plain[:, ::2])
    assert plain[0, 1].max() < 255
    assert clear[0, 1].tolist() == [255] * 3


def test_more_than_8_bits_under_the_name_of_a_jpeg_are_refused(tmp_path):
    path = save(tmp_path / "deep.png", np.array([[0, 500, 1000]], np.uint16))
    path = path.rename(tmp_path / "deep.jpg")
    with pytest.raises(UserError, match=r"deep\.jpg .*PNG of more than 8 bits, unlike \.jpg"):
        read_image(path)


def test_a_folder_that_cannot_be_listed_is_an_error_and_one_that_is_not_there_is_empty(
    tmp_path, monkeypatch
):
    save(tmp_path / "open" / "a.png", picture(4, 4, 3))
    (tmp_path / "shut").mkdir()
    assert image_names(tmp_path) == ["open/a.png"]
    scandir = os.scandir

    def refusing(folder):
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"cannot list .*shut \(Permission denied\)"):
        image_names(tmp_path)
    assert image_names(tmp_path / "nowhere") == []


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(tmp_path, orientation, suffix):
    upright = np.full((24, 40, 3), 255, np.uint8)
    upright[:8, :8] = 0
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(suffix, {})
    path = save(tmp_path / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif, **options)
    assert image_dimensions(path) == read_image(path).size == (40, 24)
    assert np.array_equal(np.array(read_image(path)), upright)


def test_floats_are_refused(tmp_path):
    path = save(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match=r"float\.tif .*32-bit floats"):
        read_image(path)


def test_the_first_of_several_frames_is_taken_which_is_told_once(tmp_path, capsys):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    for name in "ab":
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:])
        assert np.unique(np.array(read_image(tmp_path / f"{name}.gif"))).tolist() == [10]
    said = capsys.readouterr().out
    assert said == f"{tmp_path}: of .gif files with several frames, the first\n"


def test_broken_files_are_named_whatever_their_decoder_raises(tmp_path):
    path = save(tmp_path / "a.dds", picture(24, 24, 3))
    content = path.read_bytes()
    path.write_bytes(content[:80] + bytes(4) + content[84:])  # a pixel format that nothing reads
    with pytest.raises(UserError, match=r"a\.dds is not a readable image"):
        read_image(path)
