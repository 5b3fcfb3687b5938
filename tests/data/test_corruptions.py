"""Every corruption in small numbers, and the masks."""

from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from dbim_lightning.data.corruptions import (
    blur_gauss,
    blur_uniform,
    inpaint_center,
    inpaint_freeform,
    jpeg,
    sr4x_bicubic,
    sr4x_pool,
)
from dbim_lightning.data.masks import draw_mask
from dbim_lightning.errors import UserError

INPAINTING = [inpaint_center, inpaint_freeform]
ALL = [jpeg, sr4x_pool, sr4x_bicubic, blur_uniform, blur_gauss, *INPAINTING]


def image(size=32, seed=0):
    """Random 8-bit levels, -1 and 1 among them."""
    levels = torch.randint(256, (3, size, size), generator=torch.Generator().manual_seed(seed))
    return levels / 127.5 - 1


@pytest.mark.parametrize("corrupt", ALL)
@pytest.mark.parametrize("size", [32, 64])
def test_contract(corrupt, size):
    x, before = image(size), image(size)
    for index in range(5):
        result = corrupt(x, index)
        assert torch.equal(x, before)
        assert result["x_T"].shape == x.shape
        assert result["x_T"].dtype == torch.float32
        assert result["x_T"].abs().max() <= 1
        assert ("mask" in result) == (corrupt in INPAINTING)
        again = corrupt(x, index)
        assert all(torch.equal(value, again[key]) for key, value in result.items())


@pytest.mark.parametrize("quality", [5, 10])
def test_jpeg_is_that_of_pillow(quality):
    x = image()
    pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 127.5 - 1
    assert torch.equal(jpeg(x, 0, quality)["x_T"], expected)
    assert torch.equal(partial(jpeg, quality=10)(x, 0)["x_T"], jpeg(x, 0)["x_T"])


def test_pool_by_hand():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    x = torch.stack([rows, columns, torch.ones(8, 8)]) / 8
    x_T = sr4x_pool(x, 0)["x_T"] * 8
    upper, lower = torch.full((4,), 1.5), torch.full((4,), 5.5)
    assert torch.equal(x_T[0, :, 0], torch.cat([upper, lower]))
    assert torch.equal(x_T[1, 0], torch.cat([upper, lower]))
    assert (x_T[0] == x_T[0, :, :1]).all()
    assert (x_T[2] == 1).all()


def test_bicubic_is_antialiased_with_the_published_kernel():
    x = image()
    x_T = sr4x_bicubic(x, 0)["x_T"]
    small = torch.nn.functional.interpolate(x[None], (8, 8), mode="bicubic", antialias=True)[0]
    assert torch.equal(x_T[:, ::4, ::4], small.clamp(-1, 1))
    assert torch.equal(x_T, x_T[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    distance = ((torch.arange(16) - 7.5) / 4).abs()  # of the 16 pixels around a small one
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, far)
    taps /= taps.sum()
    middle = torch.einsum("chw,h,w->c", x[:, 10:26, 10:26], taps, taps)  # around 16..19
    assert torch.allclose(small[:, 4, 4], middle, atol=1e-6)


def test_blur_kernels():
    impulse = torch.zeros(3, 32, 32)
    impulse[:, 16, 16] = 1
    uniform = torch.zeros(3, 32, 32)
    uniform[:, 12:21, 12:21] = 1 / 81
    assert torch.allclose(blur_uniform(impulse, 0)["x_T"], uniform)
    gauss = torch.tensor([np.exp(-(d**2) / 200) for d in (-2, -1, 0, 1, 2)])
    x_T = blur_gauss(impulse, 0)["x_T"]
    assert torch.allclose(
        x_T[1, 14:19, 14:19], torch.outer(gauss, gauss).float() / gauss.sum() ** 2
    )
    assert torch.count_nonzero(x_T) == 3 * 25


@pytest.mark.parametrize("corrupt", [blur_uniform, blur_gauss, sr4x_pool, sr4x_bicubic])
@pytest.mark.parametrize("level", [-1.0, 0.25, 1.0])
def test_a_constant_image_stays_as_it_is(corrupt, level):
    x = torch.full((3, 16, 16), level)
    assert torch.allclose(corrupt(x, 0)["x_T"], x, atol=1e-6)


def test_centre_is_the_published_square():
    x = image(256)
    result = inpaint_center(x, 0)
    expected = torch.zeros(1, 256, 256)
    expected[:, 64:192, 64:192] = 1
    assert torch.equal(result["mask"], expected)
    assert torch.equal(result["x_T"], x * (1 - expected))


@pytest.mark.parametrize("corrupt", INPAINTING)
def test_a_hole_is_grey_and_the_rest_is_kept(corrupt):
    x = image() + 0.001  # no pixel is 0
    result = corrupt(x, 3)
    mask = result["mask"].expand(3, -1, -1).bool()
    assert result["mask"].shape == (1, 32, 32)
    assert result["mask"].dtype == torch.float32
    assert set(result["mask"].unique().tolist()) == {0, 1}
    assert (result["x_T"][mask] == 0).all()
    assert torch.equal(result["x_T"][~mask], x[~mask])


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize("coverage", [(0.1, 0.2), (0.2, 0.3), (0.5, 0.55)])
def test_drawn_masks_cover_what_they_shall(size, coverage):
    shares = torch.stack([draw_mask(index, size, coverage).mean() for index in range(300)])
    low, high = coverage
    assert low <= shares.min()
    assert shares.max() <= high
    assert shares.std() > 0.2 * (high - 0.03 - low)


def test_drawn_masks_differ_and_stay_the_same():
    masks = [draw_mask(index, 64, (0.2, 0.3)) for index in range(50)]
    assert len({mask.numpy().tobytes() for mask in masks}) == 50
    share = torch.stack(masks).mean(0)
    assert share.min() > 0, "no place is spared"
    assert share.max() < 0.7, "no place is preferred"
    rows = ["".join(" #"[int(x)] for x in row) for row in draw_mask(7, 16, (0.2, 0.3))[0]]
    assert rows == [
        "   #   #        ",
        "  ###           ",
        " ######         ",
        " #######   ##   ",
        "  #  ### ###    ",
        "     ####       ",
        "     ###        ",
        "    #####       ",
        "      ###       ",
        "     ####       ",
        " #  ####        ",
        "#    ##         ",
        "                ",
        "              ##",
        "              # ",
        "              ##",
    ]


@pytest.fixture
def mask_file(tmp_path):
    """Three masks of each coverage in the published form: all bits in one row."""
    path = tmp_path / "masks.npz"
    rng = np.random.default_rng(0)
    masks = {key: rng.random((3, 256, 256)) < 0.2 for key in ("10-20%", "20-30%")}
    packed = {f"{key} freeform": np.packbits(value) for key, value in masks.items()}
    np.savez(path, **packed)
    return str(path), masks


def test_published_masks(mask_file):
    path, masks = mask_file
    x = image(256)
    for index, expected in ((0, 0), (2, 2), (3, 0), (7, 1)):
        result = inpaint_freeform(x, index, mask_file=path)
        assert np.array_equal(result["mask"][0], masks["20-30%"][expected])
    lower = inpaint_freeform(x, 1, coverage=[0.1, 0.2], mask_file=path)
    assert np.array_equal(lower["mask"][0], masks["10-20%"][1])


def test_errors(mask_file, tmp_path):
    path, _ = mask_file
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04")
    x = image(256)
    with pytest.raises(UserError, match=r"no '30-40% freeform'.*10-20% freeform"):
        inpaint_freeform(x, 0, coverage=(0.3, 0.4), mask_file=path)
    with pytest.raises(UserError, match=r"image_size=32.*for 256"):
        inpaint_freeform(image(32), 0, mask_file=path)
    for unreadable in (str(tmp_path / "none.npz"), str(broken)):
        with pytest.raises(UserError, match="cannot read the masks"):
            inpaint_freeform(x, 0, mask_file=unreadable)
    for coverage in ((0.2, 0.22), (-0.1, 0.2), (0.9, 1.1), (0.3, 0.2)):
        with pytest.raises(UserError, match="coverage"):
            inpaint_freeform(x, 0, coverage=coverage)
    for corrupt in (sr4x_pool, sr4x_bicubic):
        with pytest.raises(UserError, match="30x30 pixels"):
            corrupt(image(30), 0)
