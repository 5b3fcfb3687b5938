"""Images times coefficients: where float64 numbers on the CPU meet tensors on a device."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def like(coefficient: Tensor | float, x: Tensor) -> Tensor:
    """A number, or (B,) float64 on the CPU -> (B, 1, 1, 1) of x's dtype, on x's device."""
    cast = torch.as_tensor(coefficient).to(x.dtype)
    return cast.to(x.device, non_blocking=True).view(-1, 1, 1, 1)


def combine(
    coefficients: Sequence[Tensor | float], images: Sequence[Tensor], out: Tensor | None = None
) -> Tensor:
    """The sum of coefficient times image.

    Args:
        coefficients: numbers, or float64 on the CPU, scalars or (B,).
        images: one (B, C, H, W) for each; the result has their dtype and device.
        out: for scalars: where to write, the first of the images or none; else a new tensor.
    """
    if any(isinstance(c, Tensor) and (c.ndim or c.requires_grad) for c in coefficients):
        products = [like(c, x) * x for c, x in zip(coefficients, images, strict=True)]
        return sum(products[1:], start=products[0])
    total = torch.mul(images[0], float(coefficients[0]), out=out)
    for coefficient, x in zip(coefficients[1:], images[1:], strict=True):
        total.add_(x, alpha=float(coefficient))
    return total


class Coefficients(NamedTuple):
    """Of the marginal x_t = a x_T + b x_0 + c eps, or their derivatives in t."""

    a: Tensor
    b: Tensor
    c: Tensor

    def q_sample(self, x_0: Tensor, x_T: Tensor, eps: Tensor) -> Tensor:
        """Draws x_t, as `Schedule.q_sample` does, where the coefficients are at hand."""
        return combine(self, (x_T, x_0, eps))
