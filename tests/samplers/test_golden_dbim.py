"""DBIM against the trajectories of the published implementation, on the VP bridge."""

import pytest
import torch
from golden_data import MANIFEST, ToyNetwork, load, unet_options, vp_cases

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.networks import ADMUNet
from dbim_lightning.samplers import DBIM
from dbim_lightning.samplers.grids import uniform

TOY = vp_cases()


def published_noise(case, x_T):
    """The draws of the reference: its k-th noise at our k-th call."""
    if case["network"] == "toy":
        return iter(load("samplers_common.npz")["noise_bank"])
    seeds = load("samplers_unet.npz")["seeds"]
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    shape = (1, *x_T.shape[1:])
    return (
        torch.cat([torch.randn(shape, generator=g, dtype=torch.float64) for g in generators])
        for _ in range(case["n_noises_drawn"])
    )


def run(case, x_T, network, times=None, dtype=torch.float64):
    """Samples the case; returns the states, the estimates, the sample and the number of calls."""
    denoiser = BridgeDenoiser(
        network, VPSchedule(), DDBMPreconditioning(cov_xy=case["cov_xy"])
    ).eval()
    noises, path, estimates, calls = published_noise(case, x_T), [], [], []
    mask = load("samplers_common.npz")[f"mask_{case['mask']}"] if case.get("mask") else None

    def denoise(*args):
        calls.append(1)
        return denoiser(*args)

    def on_step(step, t, x, x_0_hat):
        path.append(x.clone())
        estimates.append(x_0_hat)

    grid = uniform if times is None else lambda schedule, n: times.double()
    sampler = DBIM(max(case["nfe"], 2), case["eta"], case["clip_denoised"], grid)
    sample = sampler.sample(
        denoise,
        denoiser.schedule,
        x_T.to(dtype),
        lambda x: next(noises).to(x),
        mask=mask,
        on_step=on_step,
    )
    return torch.stack(path), torch.stack(estimates), sample, len(calls)


@pytest.mark.parametrize("case", [c for c in TOY if c["nfe"] >= 2], ids=lambda c: c["id"])
@pytest.mark.parametrize("level", ["given_times", "all_recomputed"])
def test_toy_trajectories(case, level):
    golden = load(case["file"])
    g = {k.removeprefix(case["id"] + "__"): v for k, v in golden.items()}
    x_T = load("samplers_common.npz")[case["x_T"]]
    times = g["ts"] if level == "given_times" else None
    path, estimates, sample, nfe = run(case, x_T, ToyNetwork(), times)
    tolerances = case["tolerance_abs_path_predx0_sample"][level]
    for ours, name, atol in zip(
        (path, estimates, sample), ("path", "pred_x0", "sample"), tolerances, strict=True
    ):
        torch.testing.assert_close(ours, g[name], rtol=0, atol=atol)
    assert nfe == case["nfe"]


@pytest.mark.parametrize("case", [c for c in TOY if c["nfe"] >= 2], ids=lambda c: c["id"])
def test_toy_trajectories_in_float32(case):
    golden = load(case["file"])
    x_T = load("samplers_common.npz")[case["x_T"]]
    path, *_ = run(case, x_T, ToyNetwork(), golden[f"{case['id']}__ts"], torch.float32)
    atol = 1e-5 * case["max_abs_path"]
    torch.testing.assert_close(path.double(), golden[f"{case['id']}__path"], rtol=0, atol=atol)


def test_boot_alone():
    """The published NFE 1 stops after booting; ours starts with that state."""
    (case,) = (c for c in TOY if c["nfe"] == 1)
    golden = load(case["file"])
    ts = golden[f"{case['id']}__ts"]
    x_T = load("samplers_common.npz")[case["x_T"]]
    path, *_ = run(case, x_T, ToyNetwork(), torch.cat([ts[:1], ts[:1] / 2]))
    atol = case["tolerance_abs_path_predx0_sample"]["given_times"][0]
    torch.testing.assert_close(path[:1], golden[f"{case['id']}__path"], rtol=0, atol=atol)


@pytest.mark.parametrize("case", vp_cases(key="unet_sampler_cases"), ids=lambda c: c["id"])
def test_unet_trajectories(case):
    golden = load("samplers_unet.npz")
    spec = next(u for u in MANIFEST["unets"] if u["file"] == f"{case['network']}.npz")
    network = ADMUNet(**unet_options(spec["constructor"]))
    weights = load(spec["file"])
    network.load_state_dict(
        {k.removeprefix("param__"): v for k, v in weights.items() if k.startswith("param__")}
    )
    x_T = golden[case["x_T"]]
    path, *_, nfe = run(case, x_T, network, golden[f"{case['id']}__ts"])
    expected = golden[f"{case['id']}__path"]
    torch.testing.assert_close(path, expected, rtol=0, atol=case["tolerance_abs_path"])
    assert nfe == case["nfe"]


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9, 19, 49, 99])
def test_grid_equals_published_one(n):
    times = load("time_grids.npz")[f"vp__uniform_n{n}"]
    torch.testing.assert_close(uniform(VPSchedule(), n), times.double(), rtol=0, atol=1.2e-7)
