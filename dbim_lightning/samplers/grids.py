"""Time grids: (schedule, number of steps n) -> n + 1 falling times, float64."""

import torch
from torch import Tensor

from dbim_lightning.bridge.schedules import Schedule


def uniform(schedule: Schedule, n: int) -> Tensor:
    """Equal steps from t_max - 1e-3 down to t_min, the published grid of DBIM."""
    return torch.linspace(schedule.t_max - 1e-3, schedule.t_min, n + 1, dtype=torch.float64)
