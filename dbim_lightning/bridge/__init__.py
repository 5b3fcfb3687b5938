"""The mathematics of diffusion bridges: schedules, transitions, preconditioning, the denoiser."""

from dbim_lightning.bridge.combine import Coefficients, combine, like
from dbim_lightning.bridge.denoiser import BridgeDenoiser, conditions
from dbim_lightning.bridge.precision import best_precision, device_named, precision_on, running_in
from dbim_lightning.bridge.preconditioning import (
    DDBMPreconditioning,
    I2SBPreconditioning,
    Preconditioning,
    Scalings,
)
from dbim_lightning.bridge.schedules import (
    BrownianSchedule,
    I2SBSchedule,
    Schedule,
    VESchedule,
    VPSchedule,
)
from dbim_lightning.bridge.transition import (
    Form,
    Transition,
    dbim_transition,
    require_eta,
    require_plain_source,
)
