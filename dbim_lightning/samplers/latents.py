"""The booting noise as a latent code (DBIM, arXiv 2405.15885): image -> code -> image.

At eta = 0 a sample depends on x_T and the booting noise eps alone. An image is taken for the state
at t_min and led up the grid of a sampler, from t to s > t, in first-order steps, either way:

    explicit:  x_s = (x_t - k_0 x_0_hat(x_t, t) - k_T x_T) / k,  one call, of first order
    exact:     x_t = k x_s + k_0 x_0_hat(x_s, s) + k_T x_T,      solved for x_s

with k, k_0 and k_T of the step s -> t (`dbim_transition`). At the first time of the grid

    eps = (x_t - a_t x_T - b_t x_0_hat(x_T, t_max)) / c_t,

which with a noised source, where x_0_hat is of x_T + beta eps, is solved for eps likewise.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dbim_lightning.bridge import Schedule, Transition, dbim_transition
from dbim_lightning.errors import UserError
from dbim_lightning.samplers.dbim import DBIM, noised_source
from dbim_lightning.samplers.sampler import Estimates

log = logging.getLogger(__name__)
MEMORY = 20  # iterates that Anderson's method combines
FURTHEST = 10.0  # that images and noises are looked for within


@dataclass(frozen=True)
class Code:
    """The booting noise of images: a `Noise` for `Sampler.sample` at eta = 0.

    Attributes:
        eps: (B, C, H, W), standard normal where the network is right.
        start: the time of the state that it boots.
        residual: (B,), the most by which a step missed its image, RMS on [-1, 1]; NaN if explicit.
        calls: network calls that it took.
    """

    eps: Tensor
    start: float
    residual: Tensor
    calls: int

    def of(self, eps: Tensor) -> "Code":
        """Another code that boots the same state, such as one between two."""
        return replace(self, eps=eps)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape != self.eps.shape:
            raise UserError(
                f"a code of {tuple(self.eps.shape)} for sources of {tuple(x.shape)}: give as many, "
                "of the same size"
            )
        if not self.eps.isfinite().all():
            raise UserError("a code with NaN or infinite values: encode again")
        return self.eps.to(x)


@torch.no_grad()
def encode(
    denoise: Callable[..., Tensor],
    schedule: Schedule,
    x_0: Tensor,
    x_T: Tensor,
    sampler: DBIM,
    *,
    exact: bool = True,
    tolerance: float = 1e-5,
    max_calls: int = 50,
    mask: Tensor | None = None,
    **cond: Tensor,
) -> Code:
    """Finds the booting noise with which a sampler makes given images.

    Args:
        denoise, schedule, x_T, mask, cond: as of `Sampler.sample`. Known pixels are the source's,
            whatever x_0 has there, and of them the code says nothing.
        x_0: images (B, C, H, W) in [-1, 1], or unclamped states at t_min.
        sampler: at eta 0; its grid, NFE and clipping are taken, and order 1.
        exact: whether each step is solved, in up to `max_calls` calls, until it misses no image by
            more than `tolerance` (RMS on [-1, 1]); what it misses then is warned of.

    Raises:
        UserError: images of another shape than their sources or not in this range, another sampler
            or noise in it, a tolerance or number of calls that nothing meets, or an estimate that
            is not finite.
    """
    if x_0.shape != x_T.shape or x_0.ndim != 4:
        raise UserError(
            f"images of {tuple(x_0.shape)} for sources of {tuple(x_T.shape)}: give (B, C, H, W) "
            "both"
        )
    if not (x_0.is_floating_point() and x_0.abs().max() <= FURTHEST):
        raise UserError(
            f"x_0: {x_0.dtype} from {x_0.min():.4g} to {x_0.max():.4g}, but images are finite "
            "floating-point ones in [-1, 1]: take x / 127.5 - 1 of 8-bit images"
        )
    if not (tolerance > 0 and max_calls >= 1):
        raise UserError(f"{tolerance=}, {max_calls=}: use more than 0, and 1 or more")
    _require_deterministic(sampler)
    estimate = Estimates(denoise, x_T, sampler.clip_denoised, mask, cond)
    times = sampler.times(schedule)
    x, missed = estimate.with_known(x_0.to(x_T)), []

    def solved(
        g: Callable[[Tensor], Tensor], y: Tensor, k: Tensor | float, furthest: float
    ) -> Tensor:
        y, by = _fixed_point(g, y, k, furthest, tolerance, max_calls)
        missed.append(by)
        return y

    for s, t in zip(times[:-1].flip(0), times[1:].flip(0), strict=True):
        up = dbim_transition(schedule, t, s)

        def before(y: Tensor, u: Tensor = s, x_t: Tensor = x, up: Transition = up) -> Tensor:
            return up(x_t, estimate(y, u), x_T)

        if exact:
            a, b, c = map(float, schedule.coefficients(s))
            x = solved(before, x, dbim_transition(schedule, s, t).k, FURTHEST * (a + b + c))
        else:
            x = before(x, t)
    a, b, c = map(float, schedule.coefficients(times[0]))

    def booting(eps: Tensor) -> Tensor:
        x_0_hat = estimate(noised_source(schedule, x_T, eps), schedule.T)
        return (x - a * x_T - b * x_0_hat) / c

    eps = booting(torch.zeros_like(x_T))
    if schedule.source_noise:
        eps = solved(booting, eps, c, FURTHEST) if exact else booting(eps)
    estimate.require_finite()
    if not exact:
        return Code(eps, times[0].item(), torch.full((len(x),), torch.nan), estimate.calls)
    ends = [schedule.T, *times]
    _tell(
        [(f"t={ends[-i - 2]:.4g} to {ends[-i - 1]:.4g}", by) for i, by in enumerate(missed)],
        tolerance,
    )
    return Code(eps, times[0].item(), torch.stack(missed).amax(dim=0), estimate.calls)


def _tell(missed: list[tuple[str, Tensor]], tolerance: float) -> None:
    """Warns of the steps that are not solved, and names the worst."""
    unsolved = [(by.max().item(), step, by) for step, by in missed if (by > tolerance).any()]
    if not unsolved:
        return
    most, worst, by = max(unsolved, key=lambda step: step[0])
    count = int((by > tolerance).sum())
    log.warning(
        f"{len(unsolved)} steps miss images; the worst, from {worst}, {count} of {len(by)} by up "
        f"to {most:.2g}: use more NFE, a finer grid there, float32 where the network runs in half "
        "precision, or exact=False, which in few calls comes nearer"
    )


def _require_deterministic(sampler: DBIM) -> None:
    if not isinstance(sampler, DBIM) or sampler.eta != 0:
        raise UserError(f"{sampler}: images have codes for DBIM at eta=0 alone")


def decode(
    denoise: Callable[..., Tensor],
    schedule: Schedule,
    code: Code,
    x_T: Tensor,
    sampler: DBIM,
    **options,
) -> Tensor:
    """The images of a code, (B, C, H, W) in [-1, 1]: `sampler.sample` with it as noise.

    Args:
        sampler: at eta 0, of any order and NFE, from the code's start.
        options: as of `Sampler.sample`.

    Raises:
        UserError: as there, or noise in the sampler, or another start.
    """
    _require_deterministic(sampler)
    first = sampler.times(schedule)[0].item()
    if abs(first - code.start) > 1e-9:
        raise UserError(
            f"the code boots at t={code.start:.6g}, the sampler at {first:.6g}: use a grid with "
            "the start that the code was made for"
        )
    return sampler.sample(denoise, schedule, x_T, code, **options)


def interpolate(eps_1: Tensor, eps_2: Tensor, weights: Sequence[float]) -> Tensor:
    """Codes between two, along the arc that keeps them standard normal (slerp).

    Args:
        eps_1, eps_2: (B, C, H, W).
        weights: 0 gives the first, 1 the second.

    Returns:
        (len(weights), B, C, H, W).
    """
    if eps_1.shape != eps_2.shape or eps_1.ndim != 4:
        raise UserError(
            f"codes of {tuple(eps_1.shape)} and {tuple(eps_2.shape)}: give (B, C, H, W) both"
        )
    if not all(math.isfinite(weight) for weight in weights):
        raise UserError(f"weights {list(weights)} between codes: give finite numbers")
    angle = torch.cosine_similarity(eps_1.flatten(1), eps_2.flatten(1)).clamp(-1, 1).acos()
    angle = angle.clamp(min=1e-6)[:, None, None, None]  # equal codes: the limit is linear
    return torch.stack(
        [
            ((1 - w) * angle).sin() / angle.sin() * eps_1 + (w * angle).sin() / angle.sin() * eps_2
            for w in weights
        ]
    )


def _fixed_point(
    g: Callable[[Tensor], Tensor],
    y: Tensor,
    k: Tensor | float,
    furthest: float,
    tolerance: float,
    max_calls: int,
) -> tuple[Tensor, Tensor]:
    """A fixed point y = g(y) of each image, by Anderson's method, and k |g(y) - y| (RMS).

    Where g diverges, y stays within +-furthest; where it is not finite, the search ends.
    """
    ys: list[Tensor] = []
    fs: list[Tensor] = []
    best, missed = y, torch.full((len(y),), torch.inf)
    for _ in range(max_calls):
        f = g(y) - y
        now = k * f.square().mean(dim=(1, 2, 3)).sqrt().cpu()
        is_better = now < missed
        found = (y + f).clamp(-furthest, furthest)
        best = torch.where(is_better.to(y.device)[:, None, None, None], found, best)
        missed = torch.where(is_better, now, missed)
        if (missed <= tolerance).all() or not now.isfinite().all():
            break
        ys, fs = [*ys[-MEMORY:], y], [*fs[-MEMORY:], f]
        y = y + f
        if len(ys) > 1:
            dy = torch.stack([ys[-1] - other for other in ys[:-1]], dim=1).flatten(2)
            df = torch.stack([fs[-1] - other for other in fs[:-1]], dim=1).flatten(2)
            gram, right = (df @ df.mT).cpu().double(), (df @ f.flatten(1)[..., None]).cpu().double()
            weights = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ right
            y = y - ((dy + df).mT @ weights.to(y)).view_as(y)
        y = y.clamp(-furthest, furthest)
    return best, missed
