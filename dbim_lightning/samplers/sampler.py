"""What every sampler is, and what all of them share: checks, clipping, mask, the watch for NaN."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser, Schedule, conditions
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.noise import ImageNoise

Noise = Callable[[Tensor], Tensor]
"""noise(x) -> the next standard normal draw of x's shape, dtype and device."""

Denoise = Callable[..., Tensor]
"""denoise(x_t, t) -> x_0_hat, clipped, with the known pixels of a mask; t is a float64 scalar.

A third argument is an estimate that the sampler no longer needs; it may be overwritten.
"""

OnStep = Callable[[int, float, Tensor, Tensor], None]
"""on_step(step, t, x_t, x_0_hat), called with each state and the estimate that it was made from."""


class State(NamedTuple):
    """A state on a sampler's way, and the estimate that it was made from.

    Without gradients, as in `Sampler.sample`, it is valid until the next one is asked for.
    """

    t: Tensor
    x: Tensor
    x_0_hat: Tensor


class Estimates:
    """A `Denoise` of sources: estimates of x_0, clipped, with known pixels, and watched for NaN.

    Args:
        denoise, x_T, mask, cond: as of `Sampler.sample`.

    Attributes:
        calls: how many were made.
    """

    def __init__(
        self,
        denoise: Callable[..., Tensor],
        x_T: Tensor,
        clip_denoised: bool,
        mask: Tensor | None,
        cond: Mapping[str, Tensor],
    ):
        _check_source(x_T)
        self._denoise, self._x_T, self._cond = denoise, x_T, cond
        self._mask = None if mask is None else _mask_like(mask, x_T)
        self._bound = 1 if clip_denoised else torch.inf
        self._times: list[Tensor] = []
        self._sums: list[Tensor] = []

    def __call__(self, x: Tensor, t: Tensor, spare: Tensor | None = None) -> Tensor:
        x_0_hat = self._denoise(x.detach(), t.expand(len(x)), self._x_T, **self._cond).to(x.dtype)
        if x_0_hat.shape != x.shape:
            raise UserError(
                f"the denoiser returned {tuple(x_0_hat.shape)} for states of {tuple(x.shape)}: it "
                "has to return images like them"
            )
        self._times.append(t)
        self._sums.append(x_0_hat.sum(dtype=torch.float32))
        return self.with_known(torch.clamp(x_0_hat, -self._bound, self._bound, out=unheld(spare)))

    def with_known(self, x_0: Tensor) -> Tensor:
        """x_0 with the known pixels of the source."""
        return x_0 if self._mask is None else self._x_T.lerp(x_0, self._mask)

    @property
    def calls(self) -> int:
        return len(self._times)

    def require_finite(self) -> None:
        """Reads the sums of all estimates at once.

        Raises:
            UserError: one was not finite; names the first.
        """
        finite = torch.stack(self._sums).isfinite().tolist() if self._sums else []
        if not all(finite):
            first = finite.index(False)
            raise UserError(
                f"the denoiser returned NaN or infinite values in step {first + 1} of "
                f"{len(finite)} (network calls), at t={self._times[first]:.6g}: look at its "
                "weights, and use float32 if it runs in half precision"
            )


class Sampler(ABC):
    """Carries sources to targets: x_T -> x_0. Subclasses are frozen dataclasses.

    Attributes:
        nfe: number of function evaluations asked for.
        clip_denoised: clamp every estimate of x_0 to [-1, 1].
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    nfe: int
    clip_denoised: bool = True

    @property
    def calls(self) -> int:
        """The number of function evaluations made, where it may differ from what was asked for."""
        return self.nfe

    @abstractmethod
    def states(
        self, denoise: Denoise, schedule: Schedule, x_T: Tensor, noise: Noise
    ) -> Iterator[State]:
        """All states that the sampler goes through; the last is the sample."""

    def require(self, schedule: Schedule) -> None:
        """Refuses a schedule on which it has no times or steps, without the network.

        Raises:
            UserError: as sampling would.
        """
        x_T = torch.zeros(1, 3, 32, 32)
        next(self.states(lambda x, *_: x, schedule, x_T, torch.zeros_like))

    @torch.no_grad()
    def sample(
        self,
        denoise: Callable[..., Tensor],
        schedule: Schedule,
        x_T: Tensor,
        noise: Noise,
        *,
        mask: Tensor | None = None,
        on_step: OnStep | None = None,
        **cond: Tensor,
    ) -> Tensor:
        """Samples targets.

        Args:
            denoise: denoise(x_t, t, x_T, **cond) -> x_0_hat with t (B,) float64 on the CPU: a
                `BridgeDenoiser`, or any callable like it.
            schedule: the bridge that the denoiser was trained on.
            x_T: sources (B, C, H, W) in [-1, 1]; the state keeps their dtype and device.
            noise: gives every random number; `ImageNoise` makes it depend on the image alone.
            mask: 1 in the hole, 0 where x_T is known, broadcastable to x_T.
            on_step: receives the trajectory as it comes; the tensors are its own to keep.
            cond: passed on to `denoise`.

        Returns:
            (B, C, H, W) in [-1, 1].

        Raises:
            UserError: bad input, before any network call, or an estimate that is not finite, after
                the last: the device is read at the beginning and the end, not in between.
        """
        estimate, step = Estimates(denoise, x_T, self.clip_denoised, mask, cond), 0
        for state in self.states(estimate, schedule, x_T, noise):
            if on_step:
                on_step(step, state.t.item(), state.x.detach(), state.x_0_hat.detach())
            x, step = state.x, step + 1
            del state  # the next call needs the memory of its estimate
        estimate.require_finite()
        return x.clamp(-1, 1)


def draw(denoiser: BridgeDenoiser, sampler: Sampler, batch: Mapping[str, Any], seed: int) -> Tensor:
    """Samples of a batch of pairs, (B, C, H, W) in [-1, 1] on the denoiser's device.

    Args:
        batch: x_T and index, and label and mask where there are any; on any device.
        seed: of the noise, together with each image's index.
    """
    x_T, options = inputs(denoiser, batch)
    noise = ImageNoise(seed, batch["index"].tolist())
    # Autocast forgets the weights that it has cast where the outermost of its contexts ends.
    with torch.autocast(denoiser.device.type, enabled=False):
        return sampler.sample(denoiser, denoiser.schedule, x_T, noise, **options)


def inputs(denoiser: BridgeDenoiser, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """x_T of a batch of pairs and its options of `Sampler.sample`, on the denoiser's device."""
    device = denoiser.device
    options = {name: value.to(device) for name, value in conditions(batch).items()}
    if "mask" in batch:
        options["mask"] = batch["mask"].to(device)
    return batch["x_T"].to(device), options


def unheld(x: Tensor | None) -> Tensor | None:
    """x, as a place for a sampler to write into, unless a view or an alias shares its memory.

    On a CPU new memory costs more than what a step computes (benchmarks/sampler_overhead.py). What
    a denoiser or `on_step` receives is an alias, so that they may keep it. Where gradients are
    recorded nothing is overwritten.
    """
    free = x is not None and not torch.is_grad_enabled() and _holders(x) == _ALONE
    return x if free else None


def _holders(x: Tensor) -> int:
    """How many tensors and other objects hold x's memory, x and perhaps its storage included."""
    return torch._C._storage_Use_Count(x.untyped_storage()._cdata)


_ALONE = _holders(torch.empty(0))


def identity(part: Any) -> Any:
    """A sampler as plain data: `dataclasses.asdict`, with the classes of sampler and grid."""
    if not is_dataclass(part):
        return list(part) if isinstance(part, tuple) else part
    values = {field.name: identity(getattr(part, field.name)) for field in fields(part)}
    return {"_target_": f"{type(part).__module__}.{type(part).__qualname__}", **values}


def _check_source(x_T: Tensor) -> None:
    if not isinstance(x_T, Tensor) or x_T.ndim != 4 or not x_T.numel():
        shape = tuple(getattr(x_T, "shape", ()))
        raise UserError(f"x_T of shape {shape}: give sources (B, C, H, W), one image or more")
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
    low, high = mask.aminmax()
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"mask from {low:.4g} to {high:.4g}: use 1 in the hole, 0 where x_T is known"
        )
    return mask.to(x_T)
