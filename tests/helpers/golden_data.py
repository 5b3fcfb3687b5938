"""Access to the golden vectors, and the toy network that they were made with."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dbim_lightning.bridge import (
    BridgeDenoiser,
    DDBMPreconditioning,
    I2SBPreconditioning,
    I2SBSchedule,
    VESchedule,
    VPSchedule,
)

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())


SCHEDULES = {"vp": VPSchedule(), "ve": VESchedule(), "i2sb": I2SBSchedule()}


@cache
def load(file: str) -> dict[str, Tensor]:
    """All arrays of one npz file."""
    with np.load(GOLDEN / file) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def fields(file: str, case: str) -> dict[str, Tensor]:
    """The arrays of one case."""
    prefix = f"{case}__"
    return {k.removeprefix(prefix): v for k, v in load(file).items() if k.startswith(prefix)}


def denoiser(case: dict, network: nn.Module) -> BridgeDenoiser:
    """The denoiser of a case, or of a variant of preconditioning or loss."""
    is_i2sb = case["schedule"] == "i2sb"
    preconditioning = (
        I2SBPreconditioning() if is_i2sb else DDBMPreconditioning(cov_xy=case["cov_xy"])
    )
    return BridgeDenoiser(network, SCHEDULES[case["schedule"]], preconditioning).eval()


class ToyNetwork(nn.Module):
    """F = tanh(k1 x + k2 x_T) + k3 sin(c_noise / k4 + k5 x), elementwise in float64."""

    def forward(self, x: Tensor, c_noise: Tensor, x_T: Tensor) -> Tensor:
        k = MANIFEST["toy_network"]["constants"]
        x, x_T, c_noise = x.double(), x_T.double(), c_noise.double().view(-1, 1, 1, 1)
        return torch.tanh(k["k1"] * x + k["k2"] * x_T) + k["k3"] * torch.sin(
            c_noise / k["k4"] + k["k5"] * x
        )


def unet_options(constructor: dict) -> dict:
    """The published constructor's arguments that `ADMUNet` has too."""
    others = ("image_size", "use_checkpoint", "use_fp16", "conv_resample", "dims")
    return {key: value for key, value in constructor.items() if key not in others}
