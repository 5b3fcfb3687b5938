"""Evaluation during training: its curves, the best checkpoint, and a training left as it was."""

import csv
import json
import random
import time

import lightning
import numpy as np
import pytest
import torch
import wandb
from linear_network import Linear
from omegaconf import OmegaConf

from dbim_lightning.bridge import (
    BridgeDenoiser,
    DDBMPreconditioning,
    VPSchedule,
    best_precision,
)
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.metrics import FeatureDistance, PairedMetrics
from dbim_lightning.objectives import BridgeMatching
from dbim_lightning.samplers import DBIM
from dbim_lightning.train import make_evaluations
from dbim_lightning.training import (
    EMA,
    BridgeModule,
    Checkpoints,
    Evaluations,
    PairDataModule,
    WholeFiles,
)
from dbim_lightning.training.loggers import make_loggers

SAMPLERS = [DBIM(2), DBIM(4)]


class Restless(FeatureNetwork):
    """Draws from every generator there is whenever it is made or used."""

    num_features, name = 3, "restless"

    def __init__(self):
        super().__init__()
        self.draw()

    def draw(self):
        return torch.rand(()), random.random(), np.random.rand()

    def forward(self, images):
        self.draw()
        return images.float().mean(dim=(2, 3))


def dataset(split):
    generator = torch.Generator().manual_seed(len(split))
    images = torch.rand(12, 2, 3, 12, 12, generator=generator) * 2 - 1
    return [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(images)]


def protocol(features=None, **options):
    distance = {} if features is None else {"distance": FeatureDistance(features)}
    measured = {**distance, "paired": PairedMetrics()}
    return Protocol("toy", measured=measured, baselines=True, **options)


def module(lr=0.1):
    denoiser = BridgeDenoiser(Linear(), VPSchedule(), DDBMPreconditioning())
    sgd = lambda p: torch.optim.SGD(p, abs(lr), maximize=lr < 0)  # noqa: E731
    return BridgeModule(denoiser, BridgeMatching(), sgd, 0, 0, {"seed": 0}, seed=0)


def evaluations(folder, every_n_steps=2, make=protocol, best=None, num_images=9):
    return Evaluations(folder, dataset, make, SAMPLERS, every_n_steps, num_images, best)


def fit(folder, callbacks, steps=6, lr=0.1, val_check_interval=2, num_workers=0):
    """Trains as train.py does, with a validation at the end."""
    lightning.seed_everything(0, workers=True, verbose=False)
    training, data = module(lr), PairDataModule(dataset, batch_size=4, num_workers=num_workers)
    trainer = lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=val_check_interval,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        logger=make_loggers(folder, "test"),
        callbacks=[
            *callbacks,
            EMA(0.5, ramp=False),
            Checkpoints(folder / "checkpoints", 1, keep_last=9),
        ],
        plugins=[WholeFiles()],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, data)
    if steps % val_check_interval:
        trainer.validate(training, data, verbose=False)


def logged(folder, column):
    """The column of metrics.csv, as text, by step."""
    with (folder / "logs" / "metrics.csv").open() as file:
        return {int(r["step"]): r[column] for r in csv.DictReader(file) if r.get(column)}


def saved(folder, name):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def judged(checkpoint, tmp_path, sampler):
    """What an evaluation after training says of a checkpoint."""
    denoiser = module().denoiser
    state = checkpoint["state_dict"].items()
    denoiser.load_state_dict({key.removeprefix("denoiser."): value for key, value in state})
    options = {"num_images": 9, "folder": tmp_path}
    judge = Evaluator(dataset, protocol(split="validation"), **options)
    denoiser.precision = best_precision(torch.device("cpu"))
    return judge.sampled(judge.generation(denoiser.eval(), sampler, 0)).row["metrics"]


@pytest.mark.parametrize("steps", [4, 5])
def test_numbers_are_those_of_the_checkpoint_evaluated_later(tmp_path, steps):
    fit(tmp_path, [evaluations(tmp_path)], steps)
    row = judged(saved(tmp_path, "last.ckpt"), tmp_path, DBIM(4))
    for metric in ("mse", "psnr", "ssim"):
        curve = logged(tmp_path, f"eval/dbim_nfe4/{metric}")
        assert curve.keys() == {2, 4, steps}
        assert float(curve[steps]) == pytest.approx(row[metric], rel=1e-6)
        assert logged(tmp_path, f"eval/dbim_nfe2/{metric}")[steps] != curve[steps]


def test_an_evaluation_waits_for_the_next_validation(tmp_path):
    fit(tmp_path, [evaluations(tmp_path, every_n_steps=3)], steps=8)
    assert logged(tmp_path, "eval/dbim_nfe2/mse").keys() == {4, 6, 8}


@pytest.mark.parametrize("interval", [2, 4])
@pytest.mark.parametrize(("metric", "best_of"), [("mse", min), ("psnr", max)])
@pytest.mark.parametrize("lr", [0.3, -0.3], ids=["improving", "worsening"])
def test_best_checkpoint_is_that_of_the_best_step(tmp_path, lr, metric, best_of, interval):
    best = f"eval/dbim_nfe4/{metric}"
    fit(tmp_path, [evaluations(tmp_path, best=best)], 6, lr, interval)
    curve = {step: float(value) for step, value in logged(tmp_path, best).items()}
    step = best_of(curve, key=curve.get)
    assert step == (max if lr > 0 else min)(curve)
    checkpoint, periodic = saved(tmp_path, "best.ckpt"), saved(tmp_path, f"step_{step:07d}.ckpt")
    assert judged(checkpoint, tmp_path, DBIM(4))[metric] == pytest.approx(curve[step], rel=1e-6)
    assert checkpoint.keys() == periodic.keys()
    for key in checkpoint.keys() - {"loops", "callbacks"}:
        assert_same(checkpoint[key], periodic[key])
    raw, ema = checkpoint["current_model_state"], checkpoint["state_dict"]
    assert not torch.equal(raw["denoiser.network.w"], ema["denoiser.network.w"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_is_bit_equal_with_and_without(tmp_path, num_workers):
    def make():
        return protocol(Restless())

    fit(tmp_path / "without", [], num_workers=num_workers)
    fit(tmp_path / "with", [evaluations(tmp_path / "with", make=make)], num_workers=num_workers)
    assert len(logged(tmp_path / "with", "eval/dbim_nfe2/kid_restless")) == 3
    losses = logged(tmp_path / "without", "train/loss")
    assert len(losses) == 6
    assert logged(tmp_path / "with", "train/loss") == losses
    states = [saved(tmp_path / name, "last.ckpt")["state_dict"] for name in ("with", "without")]
    assert_same(*states)


def test_wandb_holds_the_curves(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    fit(tmp_path, [evaluations(tmp_path)], steps=4)
    wandb.finish()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    end = time.monotonic() + 30  # wandb's own process may still be writing
    while b"eval/" not in (records := file.read_bytes()) and time.monotonic() < end:
        time.sleep(0.1)
    for sampler in ("dbim_nfe2", "dbim_nfe4"):
        curve = logged(tmp_path, f"eval/{sampler}/mse")
        assert curve.keys() == {2, 4}
        assert f"eval/{sampler}/mse".encode() in records
        assert all(value.encode() in records for value in curve.values())


class Forgetful(PairedMetrics):
    def values(self, images):
        return {"mse": super().values(images)["mse"]}


def test_a_metric_that_fails_does_so_before_training(tmp_path):
    def make():
        return Protocol("toy", measured={"mine": Forgetful()})

    with pytest.raises(UserError, match=r"Forgetful\.values gave"):
        fit(tmp_path, [evaluations(tmp_path, make=make)])
    assert not (tmp_path / "checkpoints").exists()


def test_best_that_is_no_logged_number_is_refused_before_training(tmp_path):
    with pytest.raises(UserError, match=r"best=mse: choose one of eval/dbim_nfe2/mse, .*nfe4/ssim"):
        fit(tmp_path, [evaluations(tmp_path, best="mse")])
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit_val_batches": 0}, "evaluation.every_n_steps needs validation"),
        ({"every_n_steps": -1}, "evaluation.every_n_steps=-1: use 1 or more"),
        (
            {"every_n_steps": None, "best": "eval/a"},
            "best=eval/a needs evaluation.every_n_steps",
        ),
    ],
)
def test_impossible_values_are_named(tmp_path, values, message):
    values = {"every_n_steps": 2, "nfe": [2], "num_images": 9, "best": None} | values
    limit = values.pop("limit_val_batches", None)
    cfg = OmegaConf.create(
        {
            "trainer": {"limit_val_batches": limit},
            "evaluation": values | {"metrics": {}},
            "precision": "auto",
            "sampler": {"_target_": "dbim_lightning.samplers.DBIM"},
            "dataset": {"_target_": "builtins.dict"},
        }
    )
    with pytest.raises(UserError, match=message):
        make_evaluations(cfg, tmp_path, VPSchedule())


def test_more_images_than_the_split_has_are_all(tmp_path):
    callbacks = [evaluations(tmp_path / str(n), num_images=n) for n in (12, 1000)]
    for callback in callbacks:
        fit(callback.folder, [callback], steps=2)
    first, second = (logged(c.folder, "eval/dbim_nfe2/mse") for c in callbacks)
    assert first == second


def test_a_run_that_goes_on_keeps_the_best_checkpoint_unless_its_number_is_another(tmp_path):
    best, other = "eval/dbim_nfe4/mse", "eval/dbim_nfe2/mse"
    fit(tmp_path, [evaluations(tmp_path, best=best)], steps=4)
    kept = (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    worse = {"steps": 6, "lr": -0.3}
    fit(tmp_path, [evaluations(tmp_path, best=best)], **worse)
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == kept
    fit(tmp_path, [evaluations(tmp_path, best=other)], **worse)
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() != kept
    assert saved(tmp_path, "best.ckpt")["global_step"] == 2


def test_a_best_number_of_other_images_or_without_its_checkpoint_counts_no_more(tmp_path):
    best, checkpoints = "eval/dbim_nfe4/mse", tmp_path / "checkpoints"
    fit(tmp_path, [evaluations(tmp_path, best=best)], steps=4)
    kept = (checkpoints / "best.ckpt").read_bytes()
    worse = {"steps": 6, "lr": -0.3}
    fit(tmp_path, [evaluations(tmp_path, best=best, num_images=5)], **worse)
    assert (checkpoints / "best.ckpt").read_bytes() != kept
    (checkpoints / "best.ckpt").unlink()
    fit(tmp_path, [evaluations(tmp_path, best=best, num_images=5)], **worse)
    assert (checkpoints / "best.ckpt").exists()
    contents = json.loads((checkpoints / "best.json").read_text())
    for broken in ("", json.dumps(contents | {"cost": None})):
        (checkpoints / "best.ckpt").write_bytes(b"")
        (checkpoints / "best.json").write_text(broken)
        fit(tmp_path, [evaluations(tmp_path, best=best, num_images=5)], **worse)
        assert saved(tmp_path, "best.ckpt")["global_step"] == 2


def test_of_equal_numbers_the_first_is_the_best(tmp_path):
    fit(tmp_path, [evaluations(tmp_path, best="eval/dbim_nfe4/mse")], lr=0.0)
    assert saved(tmp_path, "best.ckpt")["global_step"] == 2


@pytest.mark.parametrize(("steps", "interval"), [(2, 2), (3, 4)], ids=["in training", "after"])
def test_a_best_checkpoint_that_cannot_be_written_ends_no_training(
    tmp_path, capsys, steps, interval
):
    blocked = tmp_path / "checkpoints" / "best.ckpt"
    blocked.mkdir(parents=True)
    callback = evaluations(tmp_path, best="eval/dbim_nfe4/mse")
    fit(tmp_path, [callback], steps, val_check_interval=interval)
    assert "best.ckpt (Is a directory)" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints" / "best.json").exists()
    assert saved(tmp_path, "last.ckpt")["global_step"] == steps
