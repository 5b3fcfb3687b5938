"""The restoration tasks of I2SB (arXiv 2302.05872), as functions of (image, index).

Each takes an image (3, H, W), float32 in [-1, 1], and its index, and gives the entries that it
makes of a `Pair`: x_T like the image, and for inpainting mask (1, H, W), 1 where pixels are
missing. Equal arguments give equal results; none adds noise. Any public function here is a choice
of `dataset.corruption`.
"""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from dbim_lightning.data.images import to_tensor
from dbim_lightning.data.masks import Coverage, draw_mask, read_mask
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import to_uint8

Corrupted = dict[str, Tensor]


def jpeg(image: Tensor, index: int, quality: int = 10) -> Corrupted:
    """Encodes and decodes; I2SB's qualities are 10 and 5."""
    file = BytesIO()
    pixels = to_uint8(image).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return {"x_T": to_tensor(Image.open(file))}


def sr4x_pool(image: Tensor, index: int) -> Corrupted:
    """Means of 4x4 pixels, enlarged again to nearest neighbours."""
    _require_multiple_of_4(image)
    return {"x_T": _enlarge(avg_pool2d(image, 4))}


def sr4x_bicubic(image: Tensor, index: int) -> Corrupted:
    """A quarter of the size by the antialiased cubic kernel (a = -0.5), enlarged as above."""
    _require_multiple_of_4(image)
    size = [side // 4 for side in image.shape[1:]]
    small = interpolate(image[None], size, mode="bicubic", antialias=True)[0]
    return {"x_T": _enlarge(small.clamp(-1, 1))}


def blur_uniform(image: Tensor, index: int) -> Corrupted:
    """The mean of 9x9 pixels, with reflection at the border."""
    return {"x_T": _blur(image, torch.ones(9))}


def blur_gauss(image: Tensor, index: int) -> Corrupted:
    """A Gaussian of standard deviation 10, cut to 5x5 pixels, with reflection at the border.

    I2SB's own code loses the last row and column of both kernels and pads with black, so that its
    images are darker.
    """
    return {"x_T": _blur(image, torch.exp(-(torch.arange(-2.0, 3) ** 2) / (2 * 10**2)))}


def inpaint_center(image: Tensor, index: int) -> Corrupted:
    """Sets the middle half of rows and columns to 0; of 256, those are 64 to 191."""
    mask = torch.zeros_like(image[:1])
    height, width = image.shape[1:]
    mask[:, height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 1
    return _cut_out(image, mask)


def inpaint_freeform(
    image: Tensor, index: int, coverage: Coverage = (0.2, 0.3), mask_file: str | None = None
) -> Corrupted:
    """Sets brush strokes to 0, drawn from the index, or mask number `index` of the published file.

    Args:
        image: a square.
        index: of the image.
        coverage: smallest and largest share of missing pixels.
        mask_file: `imagenet_freeform_masks.npz`; see `read_mask`.
    """
    size = image.shape[-1]
    if mask_file is None:
        return _cut_out(image, draw_mask(index, size, coverage))
    return _cut_out(image, read_mask(mask_file, index, size, coverage))


def _require_multiple_of_4(image: Tensor) -> None:
    height, width = image.shape[1:]
    if height % 4 or width % 4:
        raise UserError(f"{width}x{height} pixels cannot be a quarter: use a multiple of 4")


def _enlarge(small: Tensor) -> Tensor:
    return small.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)


def _blur(image: Tensor, weights: Tensor) -> Tensor:
    """Convolves rows and columns with weights, scaled to a sum of 1."""
    radius, weights = len(weights) // 2, weights / weights.sum()
    kernel = torch.outer(weights, weights).expand(3, 1, -1, -1)
    padded = pad(image[None], [radius] * 4, mode="reflect")
    return conv2d(padded, kernel, groups=3)[0].clamp(-1, 1)


def _cut_out(image: Tensor, mask: Tensor) -> Corrupted:
    return {"x_T": image.masked_fill(mask.bool(), 0), "mask": mask}
