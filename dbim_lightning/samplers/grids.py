"""Time grids: where a sampler calls the network, and which times a training draws.

A grid maps (schedule, start, u) to times, u in [0, 1] being a place in the range from t_min (u = 0)
to start (u = 1). All is float64 on the CPU.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule
from dbim_lightning.errors import UserError


class Grid(Protocol):
    """Places times in [t_min, start]."""

    def __call__(self, schedule: Schedule, start: float, u: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class StartedGrid(ABC):
    """A grid that may begin where it likes.

    Args:
        start: the first time, between t_min and t_max; None is that of whoever asks, such as
            t_max - 1e-3 for DBIM, as published. From x_T a bridge may jump to any time, and near
            t_max, where it is still x_T, a network is called in vain.
    """

    start: float | None = field(default=None, kw_only=True)

    def __call__(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        """Raises `UserError` where its own start is no time of the schedule."""
        if self.start is not None and not schedule.t_min < self.start < schedule.t_max:
            raise UserError(
                f"start={self.start} of the grid: use a time between t_min={schedule.t_min:g} and "
                f"t_max={schedule.t_max:g} of the {type(schedule).__name__}, or null"
            )
        return self.place(schedule, start if self.start is None else self.start, u)

    @abstractmethod
    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        """The times of the places u."""


@dataclass(frozen=True)
class Uniform(StartedGrid):
    """Uniform in time, as published with DBIM."""

    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        return schedule.t_min + (start - schedule.t_min) * u


@dataclass(frozen=True)
class Cosine(StartedGrid):
    """Uniform in the angle whose cosine is time: finer towards both ends."""

    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        return schedule.t_min + (start - schedule.t_min) * (1 - torch.cos(math.pi * u)) / 2


@dataclass(frozen=True)
class Karras(StartedGrid):
    """Uniform in t^(1/rho), finer towards t_min (EDM, arXiv 2206.00364, eq. 5).

    Args:
        rho: positive; 1 is uniform in time, 7 as published with DDBM.
    """

    rho: float = 7.0

    def __post_init__(self):
        if not 0 < self.rho < math.inf:
            raise UserError(f"rho={self.rho} of the Karras grid: use a positive number, such as 7")

    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        first, last = start ** (1 / self.rho), schedule.t_min ** (1 / self.rho)
        return (last + (first - last) * u) ** self.rho


@dataclass(frozen=True)
class KarrasSigma(StartedGrid):
    """Uniform in sigma^(1/rho), sigma_t = c_t / b_t being noise over signal (EDM, eq. 5).

    Unlike times, noise levels mean the same to all schedules.

    Args:
        rho: positive.
        sigma_max: of the first time, if that asked for has more; None, or a start, sets no limit.
    """

    rho: float = 4.0
    sigma_max: float | None = 3.0

    def __post_init__(self):
        if not 0 < self.rho <= 100:
            raise UserError(f"rho={self.rho} of the sigma grid: use a positive number, up to 100")
        if self.sigma_max is not None and not 0 < self.sigma_max < math.inf:
            raise UserError(f"sigma_max={self.sigma_max} of the sigma grid: use a positive number")

    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        start = min(start, schedule.t_max - 1e-3) if self.start is None else start
        ends = torch.tensor([schedule.t_min, start], dtype=torch.float64)
        sigma_min, sigma_start = torch.exp(-schedule.lambda_(ends))
        limit = self.sigma_max if self.start is None and self.sigma_max else math.inf
        if limit <= sigma_min:
            raise UserError(
                f"sigma_max={limit:g} of the sigma grid: use more than the {sigma_min:.3g} that "
                f"the {type(schedule).__name__} has at t_min"
            )
        last, first = sigma_min ** (1 / self.rho), sigma_start.clamp(max=limit) ** (1 / self.rho)
        times = times_at(-self.rho * (last + (first - last) * u).log(), schedule)
        times[u == 0] = ends[0]  # to a table many times have the same sigma
        return times if sigma_start > limit else times.where(u < 1, ends[1])


@dataclass(frozen=True)
class UniformLambda(StartedGrid):
    """Uniform in lambda_t = log(b_t / c_t), by default up to t_max - 1e-3: at t_max it is infinite.

    Args:
        limit: leaves out times at which |lambda| is larger; None leaves out none.
    """

    limit: float | None = None

    def __post_init__(self):
        if self.limit is not None and not self.limit > 0:
            raise UserError(f"limit={self.limit} of lambda: use a positive number, such as 3")

    def place(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        start = min(start, schedule.t_max - 1e-3) if self.start is None else start
        ends = torch.tensor([schedule.t_min, start], dtype=torch.float64)
        last, first = schedule.lambda_(ends)
        if self.limit is not None:
            last, first = last.clamp(max=self.limit), first.clamp(min=-self.limit)
        times = times_at(last + (first - last) * u, schedule)
        if self.limit is None:  # to a table many times have the same lambda
            times[u == 0], times[u == 1] = ends
        return times


@dataclass(frozen=True)
class Listed:
    """Times given one by one, falling, in place of start, t_min and all between."""

    times: Sequence[float]

    def __post_init__(self):
        if len(self.times) == 0:
            raise UserError("times=[] of the listed grid: give falling times, such as [0.9, 0.3]")

    def __call__(self, schedule: Schedule, start: float, u: Tensor) -> Tensor:
        return torch.tensor(self.times, dtype=torch.float64)


def times_at(
    values: Tensor, schedule: Schedule, of: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """The times in [t_min, t_max] at which lambda_t has given values, by bisection.

    Args:
        of: another function of time in place of lambda_t, which falls as it does.
    """
    of = of or schedule.lambda_
    below = torch.full_like(values, schedule.t_min)
    above = torch.full_like(values, schedule.t_max)
    for _ in range(64):
        middle = (below + above) / 2
        is_early = of(middle) > values
        below, above = middle.where(is_early, below), above.where(is_early, middle)
    return middle


def falling_times(grid: Grid, schedule: Schedule, start: float, n: int) -> Tensor:
    """The n + 1 times of n steps, checked.

    Raises:
        UserError: another number of times, or times that do not fall from below t_max to t_min.
    """
    if not callable(grid):
        raise UserError(f"grid={grid!r} of the sampler: give a grid, such as Karras(7.0)")
    times = grid(schedule, start, torch.linspace(1, 0, n + 1, dtype=torch.float64))
    if len(times) != n + 1:
        raise UserError(f"{grid} has {len(times)} times, but the NFE asks for {n + 1}: change one")
    t_min = schedule.t_min * (1 - 1e-5)  # times that went through float32 are welcome
    if not (times[0] < schedule.t_max and times[-1] >= t_min and (times.diff() < 0).all()):
        raise UserError(
            f"{grid}: times must fall, from below t_max={schedule.t_max:g} to not below "
            f"t_min={schedule.t_min:g} of the schedule: change them, or use fewer NFE"
        )
    return times


def times_from_x_T(grid: Grid, schedule: Schedule, n: int) -> Tensor:
    """`falling_times` of a sampler without a boot: from t_max - 1e-4, where its state is x_T.

    Raises:
        UserError: as there, or a first time at which the bridge has left x_T.
    """
    times = falling_times(grid, schedule, schedule.t_max - 1e-4, n)
    latest = schedule.t_max - 0.01 * (schedule.t_max - schedule.t_min)
    if times[0] < latest:
        raise UserError(
            f"{grid} begins at t={times[0]:g}, where the bridge has left x_T, but this "
            f"sampler is there: use a start above {latest:g}, or a sampler that boots, such as dbim"
        )
    return times
