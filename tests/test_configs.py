"""Every shipped configuration composes, and builds what it names."""

import pytest
import torch
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
from dbim_lightning.composing import check_overrides, compose
from dbim_lightning.config import checked, instantiate, make_sampler, resolved
from dbim_lightning.errors import UserError
from dbim_lightning.networks import ADMUNet
from dbim_lightning.objectives import BridgeMatching, Objective
from dbim_lightning.options import EVALUATE, TRAIN
from dbim_lightning.resolvers import CONF
from dbim_lightning.samplers import DBIM, DDBM, Karras, KarrasSigma, Uniform, UniformLambda
from dbim_lightning.training import PairDataModule

CHOICES = [
    (file.parent.relative_to(CONF).as_posix(), file.stem)
    for file in sorted(CONF.glob("*/**/*.yaml"))
    if file.stem != "recommended"  # comes out of a weights file
]
MUST_BE_GIVEN = {
    "listed": ["sampler.grid.times=[0.9,0.5,0.1,0.05,1e-4]"],
    "own_pairs_64": ["dataset.root=x"],
    "own_pairs_256": ["dataset.root=x"],
    "packed": ["dataset.root=x"],
    "paired_folder": ["dataset.root=x"],
    "restoration": ["dataset.root=x"],
}


@pytest.mark.parametrize(
    ("group", "choice"), [of for of in CHOICES if of[0] != "metrics"], ids="=".join
)
def test_training_composes_and_builds_with_every_choice(group, choice):
    cfg = compose("train", [f"{group}={choice}", *MUST_BE_GIVEN.get(choice, [])])
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    with torch.device("meta"):
        network = instantiate(cfg.network)
    denoiser = instantiate(cfg.denoiser, network=network)
    assert isinstance(denoiser, BridgeDenoiser)
    optimizer = instantiate(cfg.training.optimizer)(denoiser.parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert isinstance(instantiate(cfg.objective), Objective)
    instantiate(cfg.training.ema)
    assert instantiate(cfg.sampler, nfe=5).nfe == 5
    cfg = checked(cfg, TRAIN)  # refuses nothing
    data = instantiate(cfg.data)
    assert isinstance(data, PairDataModule)
    assert data.batch_size == cfg.training.batch_size
    assert callable(data.dataset)


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "metrics"])
def test_a_protocol_is_made_or_names_the_missing_weights(choice, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("dbim_lightning.evaluation.features.inception.CLEANFID_FOLDER", tmp_path)
    cfg = compose("evaluate", [f"metrics={choice}"])
    if choice in ("offline", "paired", "none"):
        assert instantiate(cfg.metrics).name == choice
    else:
        with pytest.raises(UserError, match="metrics=offline needs none"):
            instantiate(cfg.metrics)
    assert cfg.metrics.name == choice


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "sampler"])
def test_evaluation_composes_with_every_sampler(choice):
    cfg = compose("evaluate", [f"sampler={choice}", "nfe=8"])
    assert make_sampler(cfg.sampler, cfg.nfe).nfe == 8


def test_samplers_are_the_documented_ones():
    def sampler(*overrides, nfe=10):
        return make_sampler(compose("evaluate", overrides).sampler, nfe)

    default = sampler()
    assert (type(default), default.eta, default.order) == (DBIM, 0.0, 1)
    assert default.grid == Uniform()
    high_order = sampler("sampler=dbim_high_order")
    assert (type(high_order), high_order.order) == (DBIM, 3)
    fast = DBIM(10, eta=6.0, grid=KarrasSigma(rho=4.0, sigma_max=3.0))
    assert sampler("sampler=dbim_fast") == fast
    ddbm = sampler("sampler=ddbm", nfe=11)
    assert (type(ddbm), ddbm.churn_step_ratio, ddbm.grid) == (DDBM, 0.33, Karras(7.0))
    options = ["sampler=ddbm", "sampler/grid=karras", "sampler.grid.rho=3"]
    assert sampler(*options, nfe=11).grid == Karras(3)


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
    cfg = compose("train", [f"schedule={choice}"])
    assert type(instantiate(cfg.schedule)) is schedule
    assert instantiate(cfg.preconditioning) == preconditioning


def test_another_preconditioning_can_be_chosen():
    cfg = compose("train", ["schedule=brownian", "preconditioning=i2sb", "network=adm_tiny"])
    denoiser = instantiate(cfg.denoiser)
    assert type(denoiser.schedule) is BrownianSchedule
    assert denoiser.preconditioning == I2SBPreconditioning()


def test_training_times_are_chosen():
    assert instantiate(compose("train").objective) == BridgeMatching(Uniform(), mask=False)
    chosen = instantiate(compose("train", ["objective/times=lambda"]).objective)
    assert chosen == BridgeMatching(UniformLambda(limit=3.0))


@pytest.mark.parametrize(
    ("name", "words", "nearest"),
    [
        ("train", ["trainer.max_step=5"], "trainer.max_step: the nearest are trainer.max_steps"),
        ("train", ["+trainer.max_step=5"], "trainer.max_step: the nearest are trainer.max_steps"),
        ("train", ["max_steps=5"], "max_steps: .*trainer.max_steps, training.max_steps"),
        ("train", ["+lr=1"], "lr: .*training.optimizer.lr"),
        ("train", ["+trainer.determinstic=true"], "the nearest are trainer.deterministic"),
        ("train", ["dataset=packed", "dataset.rot=x"], "dataset.rot: the nearest are dataset.root"),
        ("train", ["evaluation.metrics.baseline=true"], "nearest are evaluation.metrics.baselines"),
        ("evaluate", ["+eta=1"], "eta: the nearest are sampler.eta"),
        ("evaluate", ["++num_image=4"], "num_image: the nearest are num_images"),
        ("evaluate", ["sampler=ddbm", "sampler.churn=0.1"], "sampler.churn_step_ratio"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_known_ones(name, words, nearest):
    with pytest.raises(UserError, match=f"there is no key .*{nearest}"):
        check_overrides(name, compose(name, words), words)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("train", "+trainer.deterministic=true"),
        ("train", "++trainer.strategy=ddp"),
        ("train", "trainer.strategy=ddp"),
        ("train", "trainer.num_nodes=2"),
        ("train", "+training.optimizer.eps=1e-6"),
        ("train", "+network.use_checkpoint=true"),
        ("train", "+evaluation.metrics.measured.paired.lpips=alex"),
        ("train", "+dataset._convert_=all"),
        ("evaluate", "+metrics.measured.paired.lpips=alex"),
        (
            "evaluate",
            "+metrics.measured.more._target_=dbim_lightning.evaluation.metrics.PairedMetrics",
        ),
        ("evaluate", "+metrics.measured.mine={_target_: mine.Mine}"),
        ("evaluate", "++nfe=5"),
    ],
)
def test_what_a_class_takes_is_no_misspelt_key(name, word):
    check_overrides(name, compose(name, [word]), [word])


@pytest.mark.parametrize("word", ["~metrics.measured.features", "metrics.measured.features=null"])
def test_a_metric_can_be_taken_out_of_a_protocol(word):
    metrics = resolved(compose("evaluate", [word]))["metrics"]
    assert list(instantiate(OmegaConf.create(metrics)).columns) == ["mse", "psnr", "ssim"]


def test_an_interpolation_of_what_is_not_there_is_named():
    with pytest.raises(UserError, match=r"^a\.b: Interpolation key 'c'"):
        resolved(OmegaConf.create({"a": {"b": "${c}"}}))


def test_options_of_the_reference_can_be_taken_out():
    metrics = compose("evaluate", ["metrics=dbim_inpaint", "~metrics.reference_options"]).metrics
    assert "reference_options" not in metrics


def test_a_class_whose_file_fails_is_named_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text("raise ValueError('no arrow')")
    monkeypatch.syspath_prepend(tmp_path)
    word = "+metrics.measured.mine._target_=failing.Mine"
    with pytest.raises(UserError, match=r"failing\.Mine cannot be imported: no arrow"):
        check_overrides("evaluate", compose("evaluate", [word]), [word])


def test_a_key_that_a_class_takes_and_no_file_sets_needs_a_plus():
    with pytest.raises(UserError, match=r"metrics\.rounding is not set yet: write \+"):
        compose("evaluate", ["metrics.rounding=down"])


def test_a_resumed_run_is_asked_for_its_own_keys():
    cfg = compose("train", ["dataset=paired_folder", "dataset.root=x", "sampler=ddbm"])
    check_overrides("train", cfg, ["+dataset.check=false", "+sampler.churn_step_ratio=0.2"])
    with pytest.raises(UserError, match=r"there is no key dataset\.chek"):
        check_overrides("train", cfg, ["+dataset.chek=false"])


def test_choices_of_ones_own_folder_count(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "fast.yaml").write_text("# @package _global_\nseed: 3\n")
    monkeypatch.setattr("sys.argv", ["train.py", f"--config-dir={tmp_path}"])
    cfg = compose("train", ["experiment=fast"])
    check_overrides("train", cfg, ["experiment=fast"])
    assert cfg.seed == 3
    with pytest.raises(UserError, match="no key sed: the nearest are seed"):
        compose("train", ["experiment=fast", "sed=1"])


def test_a_sampler_takes_its_own_settings_of_those_for_all_and_no_misspelt_one():
    sampler = {"_target_": "dbim_lightning.samplers.DDBM", "eta": 1, "order": None}
    assert make_sampler(OmegaConf.create(sampler), 11) == DDBM(11)
    with pytest.raises(UserError, match="churn"):
        make_sampler(OmegaConf.create(sampler | {"churn": 0.5}), 11)


@pytest.mark.parametrize("word", ["objective.times=lambda", "sampler.grid=lambda"])
def test_a_choice_given_like_a_key_is_refused_with_the_way_to_give_it(word):
    with pytest.raises(UserError, match=f"write {word.replace('.', '/')}"):
        check_overrides("train", compose("train", []), [word])


def test_what_an_evaluation_takes_from_the_checkpoint_is_no_key_of_it():
    for word in ("+schedule.source_noise=0", "+network.dropout=0.5"):
        with pytest.raises(UserError, match="there is no key"):
            check_overrides("evaluate", compose("evaluate", [word]), [word])


def test_published_setup_is_the_published_one():
    cfg = compose("train", ["training=published"])
    optimizer = instantiate(cfg.training.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.RAdam)
    assert optimizer.defaults["lr"] == 1e-4
    assert optimizer.defaults["weight_decay"] == 0
    ema = instantiate(cfg.training.ema)
    assert (ema.decay, ema.ramp) == (0.9999, False)


@pytest.mark.parametrize(
    ("choice", "size"), [("adm_tiny", 32), ("adm_small", 64), ("adm_medium", 64)]
)
def test_network_runs_at_its_size_and_yaml_states_its_parameters(choice, size):
    network = instantiate(compose("train", [f"network={choice}"]).network)
    x = torch.zeros(1, 3, size, size)
    assert network(x, torch.zeros(1), x).shape == x.shape
    count = sum(p.numel() for p in network.parameters()) / 1e6
    comment = (CONF / "network" / f"{choice}.yaml").read_text().splitlines()[0]
    assert f"{count:.2f} M parameters" in comment


@pytest.mark.parametrize("value", ["off", "no", "false"])
def test_a_switch_that_is_off_is_off(value):
    words = [f"data.flip={value}", f"training.ema.ramp={value}"]
    cfg = checked(compose("train", words), TRAIN)
    assert cfg.data.flip is cfg.training.ema.ramp is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data.flip=maybe", "data.flip=maybe: give true or false"),
        ("seed=-1", "seed=-1: give a whole number, from 0"),
        ("seed=null", "seed=null: give a whole number"),
        ("training.batch_size=0", "training.batch_size=0"),
        ("training.optimizer.lr=fast", "training.optimizer.lr=fast: give a number"),
        ("training.optimizer.betas=0.9", "training.optimizer.betas=0.9: give a list"),
        ("training.warmup_steps=1.5", "training.warmup_steps=1.5"),
        ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps=0"),
        ("trainer.max_steps=-1", "trainer.max_steps=-1"),
        ("trainer.val_check_interval=null", "val_check_interval=null: give a whole number; above"),
        ("trainer.val_check_interval=0.5", "trainer.val_check_interval=0.5"),
        ("trainer.precision=bf16-true", "moving average stay in float32"),
        ("trainer.precision=64-true", "moving average stay in float32"),
        ("trainer.max_epochs=1", "only -1 works here: training has no epochs"),
        ("+trainer.limit_train_batches=3", "only null works here: trainer.max_steps limits"),
        ("+trainer.fast_dev_run=true", "trainer.max_steps=2 is a quick trial"),
        ("+trainer.overfit_batches=1", "data.max_images limits the images"),
        ("+trainer.logger=true", "only null works here: WANDB_MODE"),
        ("+trainer.detect_anomaly=perhaps", "trainer.detect_anomaly=perhaps: give true or false"),
        ("checkpoint_every_n_steps=0", "checkpoint_every_n_steps=0"),
        ("preview.num_images=1", "preview.num_images=1: give a whole number, 2 or more"),
        ("preview.nfe=5", "preview.nfe=5: give a list"),
        ("evaluation.every_n_steps=0", "evaluation.every_n_steps=0"),
        ("network.dropout=none", "network.dropout=none: give a number"),
        ("network.channel_mult=2", "network.channel_mult=2: give a list"),
        ("schedule.beta_d=null", "schedule.beta_d=null: give a number"),
        ("sampler.eta=high", "sampler.eta=high: give a number"),
        ("sampler.clip_denoised=2", "sampler.clip_denoised=2: give true or false"),
        ("objective.mask=x", "objective.mask=x: give true or false"),
        ("dataset.image_size=abc", "dataset.image_size=abc: give a whole number"),
        ("statistics.sigma_data=0", "statistics.sigma_data=0: give a number, above 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name_before_anything_is_made(words, message):
    with pytest.raises(UserError) as refused:
        checked(compose("train", words.split()), TRAIN)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["+trainer.max_time=00:01:00:00", "+trainer.limit_val_batches=0.5", "trainer.devices=auto"],
        ["+trainer.deterministic=warn", "trainer.precision=32", "trainer.devices=[0,1]"],
        ["training.max_steps=1e3", "training.gradient_clip_val=null", "data.max_images=5"],
    ],
)
def test_what_the_trainer_takes_is_taken(words):
    words = [word.replace("+trainer.max_time", "trainer.max_time") for word in words]
    words = [word.replace("+trainer.limit_val", "trainer.limit_val") for word in words]
    cfg = checked(compose("train", words), TRAIN)
    assert cfg.trainer.max_steps in (1000, 2500)


def test_evaluations_values_have_types_too():
    cfg = checked(compose("evaluate", ["nfe=5", "wandb=on", "seed=7"]), EVALUATE)
    assert (cfg.nfe, cfg.wandb, cfg.sampler.eta, cfg.num_images) == (5, True, 0.0, None)
    for word in ("nfe=ten", "batch_size=0", "num_images=1", "wandb=x", "metrics.baselines=x"):
        with pytest.raises(UserError, match=f"^{word}: give"):
            checked(compose("evaluate", [word]), EVALUATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_channels": 0}, "model_channels=0"),
        ({"channel_mult": []}, r"channel_mult=\[\]"),
        ({"num_res_blocks": -1}, "num_res_blocks=-1"),
        ({"dropout": 1.5}, "dropout=1.5"),
        ({"attention_resolutions": [4]}, r"of which it has \[1\]"),
    ],
)
def test_a_network_that_cannot_be_is_refused(options, message):
    whole = {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1}
    with pytest.raises(UserError, match=message):
        ADMUNet(**{"attention_resolutions": []} | whole | options)
