"""A run that is stopped and resumed is the run that was left alone, bit by bit."""

import csv
import signal
from functools import partial

import lightning
import pytest
import torch
from short_training import Pairs, train
from torch import nn

from dbim_lightning.evaluation import Protocol
from dbim_lightning.evaluation.metrics import PairedMetrics
from dbim_lightning.samplers import DBIM
from dbim_lightning.training import EMA, Checkpoints, Evaluations, PairDataModule, Stops
from dbim_lightning.training.folder import newest_whole


class Network(nn.Module):
    """One convolution with dropout, which draws from torch's generator."""

    num_classes = None

    def __init__(self):
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(6, 3, 3, padding=1), nn.Dropout(0.2)

    def forward(self, x, t, x_T, **_):
        return self.dropout(self.conv(torch.cat([x, x_T], dim=1)))


class NoisyPairs(Pairs):
    """Pairs with noise of torch's generator, as an augmentation of one's own may have it."""

    def __init__(self, split):
        super().__init__(10, size=12)
        self.split = split

    def __getitem__(self, index):
        pair = super().__getitem__(index)
        if self.split == "train":
            pair["x_T"] = pair["x_T"] + 0.01 * torch.randn_like(pair["x_T"])
        return pair


class StopAt(lightning.Callback):
    """Sends a signal at the end of these steps, once each."""

    def __init__(self, steps, number=signal.SIGTERM):
        self.steps, self.number = steps, number

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps and (batch_idx + 1) % 2 == 0:
            signal.raise_signal(self.number)


class FailAt(lightning.Callback):
    """Raises in a hook, after so many steps."""

    def __init__(self, hook, step):
        def fail(trainer, *arguments):
            in_second_part = hook != "on_train_batch_start" or arguments[-1] % 2 == 1
            if trainer.global_step == step and in_second_part:
                raise RuntimeError(hook)

        setattr(self, hook, fail)


def fit(folder, steps=12, stops=(), fails=None, resume=None, num_workers=0, lr=1e-2, **network):
    torch.manual_seed(3)
    checkpoints = Checkpoints(folder / "checkpoints", 5, keep_last=3)
    protocol = lambda: Protocol("toy", measured={"paired": PairedMetrics()})  # noqa: E731
    trainer = train(
        folder,
        Network(**network),
        partial(torch.optim.AdamW, lr=lr),
        PairDataModule(NoisyPairs, batch_size=3, num_workers=num_workers),
        resume,
        ramps=(4, 3),
        max_steps=steps,
        val_check_interval=6,  # batches: 3 steps
        log_every_n_steps=2,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=[
            StopAt(stops),
            Evaluations(folder, NoisyPairs, protocol, [DBIM(2)], 3, 4),
            *([fails] if fails else []),
            EMA(0.9, ramp=True),
            checkpoints,
            Stops(checkpoints),
        ],
    )
    return trainer.lightning_module


def content(folder):
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    parts = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "loops")
    parts += ("since_last_row", "skipped_steps", "PairDataModule", "averaging_state", "global_step")
    return {part: saved[part] for part in parts if part != "loops"}


def rows(folder):
    with (folder / "logs" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stops", [(5,), (1, 4, 6, 7, 9)], ids=["once", "often"])
def test_it_is_bit_equal_in_weights_optimiser_and_curves(tmp_path, num_workers, stops, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole, num_workers=num_workers)
    resume = None
    for at in stops:
        with pytest.raises(SystemExit) as ended:
            fit(parts, stops=(at,), resume=resume, num_workers=num_workers)
        assert ended.value.code == 128 + signal.SIGTERM
        resume = newest_whole(parts)
        assert torch.load(resume, weights_only=True)["global_step"] == at
    fit(parts, resume=resume, num_workers=num_workers)
    assert_same(content(parts), content(whole))
    assert len(rows(whole)) == 6 + 4 + 4  # of training, validation, evaluation
    assert rows(parts) == rows(whole)


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_train_batch_start", 4),  # between the two parts of a step
        ("on_before_optimizer_step", 5),
        ("on_validation_batch_start", 6),
        ("on_validation_epoch_end", 6),  # after an evaluation
    ],
)
def test_so_it_is_after_an_error(tmp_path, hook, step, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole)
    with pytest.raises(RuntimeError, match=hook):
        fit(parts, fails=FailAt(hook, step))
    resume = newest_whole(parts)
    assert torch.load(resume, weights_only=True)["global_step"] == step
    fit(parts, resume=resume)
    assert_same(content(parts), content(whole))
    assert rows(parts) == rows(whole)


def test_so_it_is_after_an_error_in_an_evaluation(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole)
    with monkeypatch.context() as broken:
        broken.setattr(Evaluations, "_numbers", None)
        with pytest.raises(TypeError):
            fit(parts)
    fit(parts, resume=newest_whole(parts))
    assert_same(content(parts), content(whole))
    assert rows(parts) == rows(whole)
