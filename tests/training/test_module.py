"""Training step, validation, warm-up and averaging, in numbers."""

import csv
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from linear_network import Linear
from torch.utils.data import DataLoader, default_collate

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.objectives import BridgeMatching
from dbim_lightning.training import EMA, BridgeModule
from dbim_lightning.training.module import quartile_means


def module(**options):
    denoiser = BridgeDenoiser(Linear(), VPSchedule(), DDBMPreconditioning())
    options = {
        "objective": BridgeMatching(),
        "optimizer": torch.optim.SGD,
        "warmup_steps": 0,
        "cooldown_steps": 0,
        "config": {},
        "seed": 0,
    } | options
    return BridgeModule(denoiser, **options)


def pairs(n):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 2, 3, 8, 8, generator=generator) * 2 - 1
    return [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(images)]


def fit(training, callbacks=(), steps=4, resume=None, **options):
    defaults = {"logger": False, "log_every_n_steps": 1, "accumulate_grad_batches": 1}
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **defaults | options,
    )
    loader = DataLoader(pairs(4 * steps * trainer.accumulate_grad_batches), 4)
    trainer.fit(training, loader, DataLoader(pairs(6), 4), ckpt_path=resume)
    return trainer


def test_quartile_means_by_hand():
    u = torch.tensor([0.0, 0.2, 0.5, 0.74, 1.0])
    means = quartile_means("x", u, torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0]))
    assert {key: value.item() for key, value in means.items()} == {"x_q1": 2, "x_q3": 6, "x_q4": 9}


def test_learning_rate_rises_stays_and_falls_linearly():
    rates = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    sgd = lambda parameters: torch.optim.SGD(parameters, lr=2.0)  # noqa: E731
    fit(module(optimizer=sgd, warmup_steps=4, cooldown_steps=2), [Watch()], steps=7)
    assert rates == pytest.approx([0.5, 1, 1.5, 2, 2, 2, 1])


def test_a_resumed_run_has_its_own_options_of_the_optimizer_and_its_rate(tmp_path):
    rates = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, *_):
            (group,) = trainer.optimizers[0].param_groups
            rates.append((group["lr"], group["momentum"]))

    first = partial(torch.optim.SGD, lr=2.0, momentum=0.5)
    trainer = fit(module(optimizer=first, cooldown_steps=2), steps=4)
    trainer.save_checkpoint(tmp_path / "finished.ckpt")
    second = module(optimizer=partial(first, lr=1.0, momentum=0.25), cooldown_steps=2)
    fit(second, [Watch()], steps=7, resume=tmp_path / "finished.ckpt")
    assert rates == [(1.0, 0.25), (1.0, 0.25), (0.5, 0.25)]
    assert not torch.equal(second.denoiser.network.w, torch.tensor(0.5))


def test_steps_are_logged_once_with_all_their_batches_however_many_a_step_has(tmp_path):
    losses = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, *_):
            losses.append(outputs["loss"].item())

    logger = CSVLogger(tmp_path)
    options = {"accumulate_grad_batches": 3, "limit_val_batches": 0}
    fit(module(), [Watch()], steps=4, log_every_n_steps=2, logger=logger, **options)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = [(int(row["step"]), float(row["train/loss"])) for row in csv.DictReader(file)]
    assert [step for step, _ in rows] == [1, 3]
    means = [sum(losses[:6]) / 2, sum(losses[6:]) / 2]  # Lightning divides them by 3
    assert [loss for _, loss in rows] == pytest.approx(means, rel=1e-5)


def test_training_step_returns_mean_weighted_loss():
    training = module()
    training.trainer = lightning.Trainer(logger=False, enable_checkpointing=False)
    batch = default_collate(pairs(4))
    batch["seed"] = torch.tensor([2**62 + 1, 5, 6, 7])
    loss = training.training_step(batch, 0)
    generators = [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()]
    u = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])
    eps = torch.stack([torch.randn(3, 8, 8, generator=g) for g in generators])
    t = training.denoiser.schedule.uniform_times(u)
    expected = training.objective.at_times(training.denoiser, batch, t, eps)
    assert loss.item() == pytest.approx(expected["loss"].mean().item(), rel=1e-6)


def test_layers_draw_by_step_part_and_process():
    training = module(objective=lambda *_: {"loss": torch.rand(4)})

    def drawn(step, part, rank):
        trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=2)
        training.trainer = trainer
        return training.training_step({}, 2 * step + part).item()

    places = list(product((0, 1), repeat=3))
    found = [drawn(*place) for place in places]
    assert len(set(found)) == len(places)
    assert [drawn(*place) for place in places] == found


@pytest.mark.parametrize("offset", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_leaves_no_finite_gradient(offset):
    def objective(denoiser, *_):
        return {"loss": denoiser.network.w * torch.ones(4) + offset}

    training = module(objective=objective)
    trainer = SimpleNamespace(global_step=0, global_rank=0, accumulate_grad_batches=1)
    training.trainer = trainer
    training.training_step({}, 0).backward()
    assert not training.denoiser.network.w.grad.isfinite()


def test_validation_does_not_depend_on_batch_size():
    training = module()
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    seven, one = (
        trainer.validate(training, DataLoader(pairs(7), size), verbose=False)[0] for size in (7, 2)
    )
    assert seven == pytest.approx(one, rel=1e-5)
    mean_of_quartiles = sum(seven[f"val/error_q{q}"] for q in (1, 2, 3, 4)) / 4
    assert mean_of_quartiles == pytest.approx(seven["val/error"], rel=1e-5)
    # near t_min the state is almost the target, whatever the network says
    assert 10 * seven["val/error_q1"] < seven["val/error_q4"]


@pytest.mark.parametrize("ramp", [False, True])
def test_ema_follows_its_formula_and_validates(ramp):
    seen = []

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append(pl_module.denoiser.network.w.item())

    training = module(optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    fit(training, [Watch(), EMA(decay=0.9, ramp=ramp)])
    ema = seen[0]  # the first update copies
    for n, w in enumerate(seen[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n)) if ramp else 0.9
        ema = decay * ema + (1 - decay) * w
    assert len(set(seen)) == 4
    assert training.denoiser.network.w.item() == pytest.approx(ema, rel=1e-6)
