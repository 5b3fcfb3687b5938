"""Access to the golden vectors, and the toy network that they were made with."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())


def load(file: str) -> dict[str, Tensor]:
    """All arrays of one npz file."""
    with np.load(GOLDEN / file) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def vp_cases(
    *, schedule: str = "vp", sampler: str = "dbim", key: str = "sampler_cases"
) -> list[dict]:
    """The sampler cases of one kind."""
    return [c for c in MANIFEST[key] if c["schedule"] == schedule and c["sampler"] == sampler]


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
