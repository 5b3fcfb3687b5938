"""Every shipped configuration composes, and builds what it names."""

from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dbim_lightning.bridge import (
    BridgeDenoiser,
    BrownianSchedule,
    DDBMPreconditioning,
    I2SBPreconditioning,
    I2SBSchedule,
    VESchedule,
    VPSchedule,
)
from dbim_lightning.data import PairDataModule
from dbim_lightning.evaluation.assemble import own_settings
from dbim_lightning.samplers import DBIM, DDBM, Power, Uniform

CONF = Path(__file__).parents[1] / "conf"
CHOICES = [
    (file.parent.relative_to(CONF).as_posix(), file.stem)
    for file in sorted(CONF.glob("*/**/*.yaml"))
]
MUST_BE_GIVEN = {
    "listed": ["sampler.grid.times=[0.9,0.5,0.1,0.05,1e-4]"],
    "packed": ["dataset.root=x"],
    "paired_folder": ["dataset.root=x"],
    "restoration": ["dataset.root=x"],
}
build = partial(instantiate, _convert_="all")


def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def test_groups_are_the_documented_ones():
    groups = {group for group, _ in CHOICES}
    expected = {"dataset", "schedule", "network", "sampler", "sampler/grid", "training", "metrics"}
    assert groups == expected


@pytest.mark.parametrize(
    ("group", "choice"), [of for of in CHOICES if of[0] != "metrics"], ids="=".join
)
def test_training_composes_and_builds_with_every_choice(group, choice):
    cfg = composed("train", f"{group}={choice}", *MUST_BE_GIVEN.get(choice, []))
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    with torch.device("meta"):
        network = build(cfg.network)
    denoiser = BridgeDenoiser(network, build(cfg.schedule), build(cfg.preconditioning))
    optimizer = build(cfg.training.optimizer)(denoiser.parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)
    build(cfg.training.ema)
    assert build(cfg.sampler, nfe=5).nfe == 5
    data = build(cfg.data)
    assert isinstance(data, PairDataModule)
    assert data.batch_size == cfg.training.batch_size
    assert callable(data.dataset)


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "metrics"])
def test_a_protocol_is_made_or_names_the_missing_weights(choice, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("dbim_lightning.evaluation.inception.CLEANFID_FOLDER", tmp_path)
    cfg = composed("evaluate", f"metrics={choice}")
    if choice in ("offline", "paired", "none"):
        assert build(cfg.metrics).name == choice
    else:
        with pytest.raises(InstantiationException, match="metrics=offline needs none"):
            build(cfg.metrics)
    assert cfg.metrics.name == choice


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "sampler"])
def test_evaluation_composes_with_every_sampler(choice):
    cfg = composed("evaluate", f"sampler={choice}", "nfe=8")
    assert build(own_settings(cfg.sampler), nfe=cfg.nfe).nfe == 8


def test_samplers_are_the_documented_ones():
    def sampler(*overrides, nfe=10):
        return build(own_settings(composed("evaluate", *overrides).sampler), nfe=nfe)

    default = sampler()
    assert (type(default), default.eta, default.order) == (DBIM, 0.0, 1)
    assert default.grid == Uniform()
    high_order = sampler("sampler=dbim_high_order")
    assert (type(high_order), high_order.order) == (DBIM, 3)
    ddbm = sampler("sampler=ddbm", nfe=11)
    assert (type(ddbm), ddbm.churn_step_ratio, ddbm.grid) == (DDBM, 0.33, Power(7.0))
    options = ["sampler=ddbm", "sampler/grid=power", "sampler.grid.rho=3"]
    assert sampler(*options, nfe=11).grid == Power(3)


@pytest.mark.parametrize(
    ("choice", "schedule", "preconditioning"),
    [
        ("vp", VPSchedule, DDBMPreconditioning(0.61, 0.48, 0.24)),
        ("ve", VESchedule, DDBMPreconditioning(0.61, 0.48, 0.24)),
        ("brownian", BrownianSchedule, DDBMPreconditioning(0.61, 0.48, 0.24)),
        ("i2sb", I2SBSchedule, I2SBPreconditioning()),
    ],
)
def test_a_schedule_brings_its_preconditioning(choice, schedule, preconditioning):
    cfg = composed("train", f"schedule={choice}")
    assert type(build(cfg.schedule)) is schedule
    assert build(cfg.preconditioning) == preconditioning


def test_published_setup_is_the_published_one():
    cfg = composed("train", "training=published")
    optimizer = build(cfg.training.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.RAdam)
    assert optimizer.defaults["lr"] == 1e-4
    assert optimizer.defaults["weight_decay"] == 0
    ema = build(cfg.training.ema)
    assert (ema.decay, ema.ramp) == (0.9999, False)


@pytest.mark.parametrize(
    ("choice", "size"), [("adm_tiny", 32), ("adm_small", 64), ("adm_medium", 64)]
)
def test_network_runs_at_its_size_and_yaml_states_its_parameters(choice, size):
    network = build(composed("train", f"network={choice}").network)
    x = torch.zeros(1, 3, size, size)
    assert network(x, torch.zeros(1), x).shape == x.shape
    count = sum(p.numel() for p in network.parameters()) / 1e6
    comment = (CONF / "network" / f"{choice}.yaml").read_text().splitlines()[0]
    assert f"{count:.2f} M parameters" in comment
