"""What all samplers share: the estimate of x_0, the way through the states, and the checks."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.samplers.sampler import Denoise, OnStep


class Estimator:
    """x_0_hat = D(x_t, t, x_T) at one time after the other: clipped, composed, watched for NaN.

    Nothing is read back from the device between construction and `check`.

    Args:
        denoise, x_T, mask, cond: as `Sampler.sample` takes them.
        times: of all calls, in order.
        keep: how many estimates stay valid; the next one overwrites the oldest.
        clip: clamp estimates to [-1, 1].

    Raises:
        UserError: x_T outside [-1, 1] or not finite, or a mask of another shape.
    """

    def __init__(
        self,
        denoise: Denoise,
        x_T: Tensor,
        times: list[float],
        *,
        keep: int,
        clip: bool,
        mask: Tensor | None,
        cond: dict[str, Tensor],
    ):
        _check_source(x_T)
        self._denoise, self._x_T, self._clip, self._cond = denoise, x_T, clip, cond
        self._mask = None if mask is None else _mask_like(mask, x_T)
        self._known = None if mask is None else (1 - self._mask) * x_T
        self._times = torch.tensor(times, dtype=torch.float64).unsqueeze(1).expand(-1, len(x_T))
        self._sums = torch.zeros(len(times), device=x_T.device)
        self._buffers = [torch.empty_like(x_T) for _ in range(keep)]
        self._calls = zip(self._times, self._sums, itertools.cycle(self._buffers), strict=False)

    def __call__(self, x: Tensor) -> Tensor:
        """Estimates x_0 from x at the next of the times; where the mask is 0, it is x_T."""
        t, total, x_0 = next(self._calls)
        estimate = self._denoise(x, t, self._x_T, **self._cond)
        torch.sum(estimate, dim=(0, 1, 2, 3), dtype=torch.float32, out=total)
        if self._clip:
            torch.clamp(estimate.to(x.dtype), -1, 1, out=x_0)
        else:
            x_0.copy_(estimate)
        return x_0 if self._mask is None else x_0.mul_(self._mask).add_(self._known)

    def check(self) -> None:
        """Raises a UserError if an estimate was not finite, which it names."""
        bad = (~self._sums.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise UserError(
                f"the denoiser returned NaN or infinite values in step {bad[0] + 1} of "
                f"{len(self._times)} (network calls), at t={self._times[bad[0], 0]:.6g}: look at "
                "its weights, and use float32 if it runs in half precision"
            )


class State(NamedTuple):
    """A state on a sampler's way, and the estimate that it was made from."""

    t: float
    x: Tensor
    x_0: Tensor


def follow(states: Iterable[State], estimate: Estimator, on_step: OnStep | None) -> Tensor:
    """Goes through all states and returns the last, checked and clamped to [-1, 1]."""
    for step, (t, x, x_0) in enumerate(states):
        if on_step:
            on_step(step, t, x.clone(), x_0.clone())
    estimate.check()
    return x.clamp_(-1, 1)


def _check_source(x_T: Tensor) -> None:
    low, high = x_T.aminmax()
    if not (x_T.is_floating_point() and low >= -1.001 and high <= 1.001):
        raise UserError(
            f"x_T: {x_T.dtype} from {low:.4g} to {high:.4g}, but sources are finite floating-point "
            "images in [-1, 1]: take x / 127.5 - 1 of 8-bit images, and clamp what overshoots"
        )


def _mask_like(mask: Tensor, x_T: Tensor) -> Tensor:
    try:
        fits = torch.broadcast_shapes(mask.shape, x_T.shape) == x_T.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise UserError(
            f"mask of shape {tuple(mask.shape)} for images of {tuple(x_T.shape)}: "
            f"use {(len(x_T), 1, *x_T.shape[2:])}, with 1 in the hole"
        )
    return mask.to(x_T)
