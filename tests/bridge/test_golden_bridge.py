"""Schedule, preconditioning and loss against the published implementation."""

import pytest
import torch
from golden_data import MANIFEST, ToyNetwork, load

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule

VARIANTS = [v for v in MANIFEST["precond_variants"] if v["schedule"] == "vp"]


def test_vp_schedule_equals_published_one():
    golden = load("schedules.npz")
    schedule, t = VPSchedule(), golden["vp__t"].double()
    a, b, c = schedule.bridge(t)
    ours = {"a": a, "b": b, "c": c, "f": schedule.f(t), "g2": schedule.g2(t)}
    ours |= {"alpha": schedule.alpha(t), "alpha_bar": schedule.alpha_bar(t)}
    ours |= {"rho": schedule.rho(t), "rho_bar": schedule.rho_bar(t)}
    for name, value in ours.items():
        near_t_max = 1e-9 if name in ("b", "c") else 1e-12
        torch.testing.assert_close(value, golden[f"vp__{name}"], rtol=near_t_max, atol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["id"])
def test_preconditioning_equals_published_one(variant):
    golden = load("precond.npz")
    g = {k.removeprefix(variant["id"] + "__"): v for k, v in golden.items()}
    precondition = DDBMPreconditioning(cov_xy=variant["cov_xy"])
    ours = precondition(VPSchedule(), g["t"].double())
    for name in ("c_skip", "c_in", "c_out"):
        torch.testing.assert_close(getattr(ours, name), g[name], rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.c_out**-2, g["weighting"], rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.c_noise.float(), g["c_noise"], rtol=2e-7, atol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["id"])
def test_loss_equals_published_one(variant):
    golden = load("loss.npz")
    denoiser = BridgeDenoiser(
        ToyNetwork(), VPSchedule(), DDBMPreconditioning(cov_xy=variant["cov_xy"])
    )
    x_0, x_T, eps = (golden[f"common__{name}"].double() for name in ("x0", "xT", "noise"))
    loss = denoiser.loss(x_0, x_T, golden["vp__t"].double(), eps)
    g = {k.removeprefix(variant["id"] + "__"): v for k, v in golden.items()}
    torch.testing.assert_close(loss.weighted, g["mse_mask_none"].double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(loss.error, g["xs_mse_mask_none"].double(), rtol=1e-6, atol=0)
