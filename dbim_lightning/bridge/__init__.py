"""The mathematics of diffusion bridges: schedules, preconditioning, the denoiser and its loss."""

from dbim_lightning.bridge.denoiser import BridgeDenoiser, BridgeLoss
from dbim_lightning.bridge.preconditioning import DDBMPreconditioning, Preconditioning, Scalings
from dbim_lightning.bridge.schedules import Bridge, Schedule, VPSchedule

__all__ = [
    "Bridge",
    "BridgeDenoiser",
    "BridgeLoss",
    "DDBMPreconditioning",
    "Preconditioning",
    "Scalings",
    "Schedule",
    "VPSchedule",
]
