"""Half precision is the network's alone."""

import pytest
import torch
from torch import nn

from dbim_lightning.bridge import (
    BridgeDenoiser,
    DDBMPreconditioning,
    VPSchedule,
    best_precision,
    precision_on,
)
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, ImageNoise, draw

CPU = torch.device("cpu")


class Convolution(nn.Module):
    """Notes the type in which it computes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.types = []

    def forward(self, x, c_noise, x_T):
        output = self.conv(x)
        self.types.append((x.dtype, output.dtype))
        return output


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    return BridgeDenoiser(Convolution(), VPSchedule(), DDBMPreconditioning()).eval()


def sampled(denoiser, precision, dtype=torch.float32):
    """Samples, and the types of states and estimates on the way."""
    x_T = torch.linspace(-1, 1, 3 * 8 * 8, dtype=dtype).view(1, 3, 8, 8)
    types, denoiser.precision = set(), precision
    samples = DBIM(5, eta=1.0).sample(
        denoiser,
        denoiser.schedule,
        x_T,
        ImageNoise(0, [0]),
        on_step=lambda step, t, x, x_0_hat: types.update({x.dtype, x_0_hat.dtype}),
    )
    return samples, types


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_computes_in_it_and_states_stay_as_they_are(denoiser, precision, dtype):
    denoiser.to(dtype)
    samples, types = sampled(denoiser, precision, dtype)
    half = getattr(torch, precision)
    if dtype == torch.float32:
        assert set(denoiser.network.types) == {(dtype, half)}
    assert types == {dtype}
    full, _ = sampled(denoiser, "float32", dtype)
    assert (samples - full).abs().max() < 0.05


def test_float32_leaves_the_callers_own_choice(denoiser):
    with torch.autocast("cpu", torch.bfloat16):
        sampled(denoiser, "float32")
    assert set(denoiser.network.types) == {(torch.float32, torch.bfloat16)}


def test_drawing_is_sampling_in_the_denoisers_precision(denoiser):
    batch = {"x_T": torch.zeros(1, 3, 8, 8), "index": torch.tensor([0])}
    with denoiser.in_precision("bfloat16"):
        draw(denoiser, DBIM(3), batch, seed=0)
    assert denoiser.precision == "float32"
    assert set(denoiser.network.types) == {(torch.float32, torch.bfloat16)}


def test_auto_is_what_the_device_computes_natively(monkeypatch):
    for native, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert best_precision(CPU) == precision_on(CPU, "auto") == name
    assert precision_on(CPU, "float16") == "float16"
    assert best_precision(torch.device("mps")) == "float32"


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="precision=half: choose auto, float32, bfloat16 or float1"):
        precision_on(CPU, "half")
