"""Each experiment is the run that it says, and trains."""

import pytest
import torch
from commands import ROOT, run
from omegaconf import OmegaConf
from picture_files import as_strips, picture, save, some_pairs

import dbim_lightning
from dbim_lightning.bridge import DDBMPreconditioning, I2SBPreconditioning
from dbim_lightning.composing import compose
from dbim_lightning.config import checked, instantiate
from dbim_lightning.data import PairedFolder
from dbim_lightning.data.packed import pack
from dbim_lightning.errors import UserError
from dbim_lightning.objectives import BridgeMatching
from dbim_lightning.options import TRAIN
from dbim_lightning.samplers import Uniform

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
VP = {"_target_": "dbim_lightning.bridge.VPSchedule", "beta_d": 2.0, "beta_min": 0.1}
I2SB = {"_target_": "dbim_lightning.bridge.I2SBSchedule", "n_timestep": 1000}
I2SB |= {"beta_min": 0.1, "beta_max": 1.0}
TWO_STEPS = [
    "trainer.max_steps=2",
    "trainer.devices=1",
    "trainer.accelerator=cpu",
    "data.num_workers=0",
    "data.num_validation_images=2",
    "preview.num_images=2",
    "preview.nfe=[2]",
]
SMALL_BATCH = ["training.batch_size=1"]
SMALL_NETWORK = [
    "network.model_channels=32",
    "network.num_head_channels=32",
    "network.num_res_blocks=1",
]


def packed_pairs(folder, size):
    """As `python -m dbim_lightning.data.prepare` leaves a data set of the papers."""
    strips = as_strips(folder / "strips", some_pairs(40, size, size))
    for split in ("train", "validation", "test"):
        pack(PairedFolder(split, strips, image_size=size), folder / "packed" / split)
    return folder / "packed"


def imagenet(folder):
    for i, name in enumerate(["train/n01/0", "train/n02/1", "test/n01/2", "test/n02/3"]):
        save(folder / f"{name}.JPEG", picture(280, 300, 3, seed=i))
    return folder


DATA = {
    "demo": lambda folder: ROOT / "data" / "openmoji",
    "diode": lambda folder: packed_pairs(folder, 256),
    "edges2handbags": lambda folder: packed_pairs(folder, 64),
    "imagenet_inpaint_center": imagenet,
    "own_pairs_64": lambda folder: as_strips(folder / "strips", some_pairs(40, 64, 64)),
    "own_pairs_256": lambda folder: as_strips(folder / "strips", some_pairs(40, 256, 300)),
}
AT_256 = {"diode", "imagenet_inpaint_center", "own_pairs_256"}
REPLACED = {  # beside TWO_STEPS
    "demo": [],
    "diode": [*SMALL_BATCH, *SMALL_NETWORK],
    "edges2handbags": [*SMALL_BATCH, *SMALL_NETWORK],
    "imagenet_inpaint_center": [
        *SMALL_BATCH,
        *SMALL_NETWORK,
        "trainer.accumulate_grad_batches=2",
    ],
    "own_pairs_64": SMALL_BATCH,
    "own_pairs_256": [*SMALL_BATCH, *SMALL_NETWORK],
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in AT_256)) for name in EXPERIMENTS],
)
def test_an_experiment_trains_for_two_steps(name, tmp_path, openmoji_root):
    """On random images; what is replaced is in REPLACED."""
    words = [f"experiment={name}", f"dataset.root={DATA[name](tmp_path / 'data')}"]
    run("train.py", *words, *TWO_STEPS, *REPLACED[name], f"hydra.run.dir={tmp_path / 'run'}")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    schedule = compose("train", [f"experiment={name}"]).schedule
    assert type(dbim_lightning.load(last).schedule) is type(instantiate(schedule))


def test_the_same_words_go_on(tmp_path):
    words = ["experiment=own_pairs_64", f"dataset.root={DATA['own_pairs_64'](tmp_path / 'data')}"]
    words += [*SMALL_BATCH, *SMALL_NETWORK, f"hydra.run.dir={tmp_path / 'run'}", "resume=auto"]
    run("train.py", *words, *TWO_STEPS)
    run("train.py", *words, *TWO_STEPS, "trainer.max_steps=3")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3


def composed(*words):
    return checked(compose("train", [*words, "dataset.root=x"]), TRAIN)


def pairs_a_step(cfg):
    return cfg.training.batch_size * cfg.trainer.devices * cfg.trainer.accumulate_grad_batches


@pytest.mark.parametrize(
    ("name", "steps", "network", "schedule", "preconditioning", "dropout"),
    [
        ("edges2handbags", 420_000, "adm_e2h", VP, DDBMPreconditioning(0.5, 0.5, 0.0), 0.1),
        ("diode", 440_000, "adm_diode", VP, DDBMPreconditioning(0.5, 0.5, 0.0), 0.1),
        ("imagenet_inpaint_center", 400_000, "adm_imagenet", I2SB, I2SBPreconditioning(), 0.0),
    ],
)
def test_the_papers_values(name, steps, network, schedule, preconditioning, dropout):
    cfg = composed(f"experiment={name}")
    assert cfg.dataset == composed(f"dataset={name}").dataset
    assert cfg.network == OmegaConf.load(ROOT / "conf" / "network" / f"{network}.yaml")
    assert cfg.network.dropout == dropout
    assert cfg.schedule == schedule
    assert instantiate(cfg.preconditioning) == preconditioning
    assert instantiate(cfg.objective) == BridgeMatching(Uniform(), mask=False)
    assert pairs_a_step(cfg) == 256
    assert cfg.trainer.max_steps == steps
    assert cfg.training.optimizer._target_ == "torch.optim.RAdam"
    assert cfg.training.optimizer.lr == 1e-4
    assert (cfg.training.warmup_steps, cfg.training.cooldown_steps) == (0, 0)
    assert cfg.trainer.gradient_clip_val is None
    assert (cfg.training.ema.decay, cfg.training.ema.ramp) == (0.9999, False)
    assert cfg.data.flip


@pytest.mark.parametrize(
    ("size", "network", "pairs"), [(64, "adm_small", 64), (256, "adm_medium", 32)]
)
def test_ones_own_pairs_need_one_device_and_their_folder(size, network, pairs):
    cfg = composed(f"experiment=own_pairs_{size}")
    folder = composed("dataset=paired_folder", f"dataset.image_size={size}").dataset
    assert (cfg.dataset, cfg.trainer.devices) == (folder, 1)
    assert cfg.network == OmegaConf.load(ROOT / "conf" / "network" / f"{network}.yaml")
    assert pairs_a_step(cfg) == pairs
    with pytest.raises(UserError, match=r"give dataset\.root"):
        checked(compose("train", [f"experiment=own_pairs_{size}"]), TRAIN)


def test_the_demo_is_what_trains_without_words():
    assert compose("train", ["experiment=demo"]) == compose("train")


@pytest.mark.parametrize("first", [0, 1])
def test_other_words_change_an_experiment_wherever_they_stand(first):
    words = ["training.batch_size=8", "network=adm_tiny", "dataset=packed"]
    words.insert(first * len(words), "experiment=own_pairs_64")
    cfg = composed(*words)
    assert cfg.data.batch_size == cfg.training.batch_size == 8
    assert cfg.network.model_channels == 32
    assert cfg.dataset._target_ == "dbim_lightning.data.PackedPairs"
    assert cfg.trainer.max_steps == 200_000


def test_packed_pairs_know_their_own_size():
    words = ["experiment=own_pairs_256", "dataset=packed", "~dataset.image_size"]
    assert composed(*words).dataset == composed("dataset=packed").dataset
