"""Images times coefficients: where float64 numbers on the CPU meet tensors on a device."""

from collections.abc import Sequence

from torch import Tensor


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """(B,) float64 on the CPU -> (B, 1, 1, 1) of x's dtype, on x's device."""
    return coefficient.to(x.dtype).to(x.device, non_blocking=True).view(-1, 1, 1, 1)


def combine(coefficients: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
    """The sum of coefficient times image, as a new tensor.

    Args:
        coefficients: float64 on the CPU, scalars or (B,).
        images: one (B, C, H, W) for each; the result has their dtype and device.
    """
    if any(coefficient.ndim or coefficient.requires_grad for coefficient in coefficients):
        products = [like(c, x) * x for c, x in zip(coefficients, images, strict=True)]
        return sum(products[1:], start=products[0])
    (number, *numbers), (x, *others) = [c.item() for c in coefficients], images
    total = x * number
    for number, x in zip(numbers, others, strict=True):
        total.add_(x, alpha=number)  # into the new tensor: benchmarks/sampler_overhead.py
    return total
