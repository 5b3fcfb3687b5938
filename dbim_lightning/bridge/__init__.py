"""The mathematics of diffusion bridges: schedules, preconditioning, the denoiser and its loss."""

from dbim_lightning.bridge.denoiser import BridgeDenoiser, BridgeLoss
from dbim_lightning.bridge.preconditioning import (
    DDBMPreconditioning,
    I2SBPreconditioning,
    Preconditioning,
    Scalings,
)
from dbim_lightning.bridge.schedules import (
    Bridge,
    BrownianSchedule,
    I2SBSchedule,
    Schedule,
    VESchedule,
    VPSchedule,
)

__all__ = [
    "Bridge",
    "BridgeDenoiser",
    "BridgeLoss",
    "BrownianSchedule",
    "DDBMPreconditioning",
    "I2SBPreconditioning",
    "I2SBSchedule",
    "Preconditioning",
    "Scalings",
    "Schedule",
    "VESchedule",
    "VPSchedule",
]
