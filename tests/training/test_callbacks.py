"""Checkpoints when something goes wrong, or time is up."""

import csv
import signal
from datetime import timedelta
from functools import partial

import pytest
import torch
from forked import forked
from linear_network import Linear
from short_training import At, Pairs, train

from dbim_lightning.errors import UserError
from dbim_lightning.training import EMA, Checkpoints, PairDataModule, Stops, TimeIsUp


class BrokenPairs(Pairs):
    """Eight pairs, of which some may be broken."""

    def __init__(self, broken):
        super().__init__(8)
        self.broken = broken

    def __getitem__(self, index):
        if index in self.broken:
            raise UserError(f"image {index} is broken")
        return super().__getitem__(index)


def fit(folder, broken, checkpoints, steps=12, resume=None, time=None, **options):
    at = At()
    fit.weights = at.weights
    return train(
        folder,
        Linear(),
        partial(torch.optim.SGD, lr=0.1),
        PairDataModule(lambda split: BrokenPairs(broken.get(split, ())), batch_size=1, **options),
        resume,
        max_steps=steps,
        val_check_interval=3,
        log_every_n_steps=1,
        callbacks=[at, EMA(0.5, ramp=False), checkpoints, Stops(checkpoints, time)],
    )


def saved(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)


def trained_steps(folder):
    table = folder / "logs" / "metrics.csv"
    if not table.exists():
        return []
    with table.open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_image_is_named_and_the_steps_before_it_are_kept(tmp_path, capsys, num_workers):
    with pytest.raises(UserError, match="image 5 is broken"):
        fit(tmp_path, {"train": [5]}, Checkpoints(tmp_path, 500), num_workers=num_workers)
    steps = len(fit.weights)
    assert steps > 0
    checkpoint = saved(tmp_path)
    assert checkpoint["global_step"] == steps
    assert checkpoint["current_model_state"]["denoiser.network.w"].item() == fit.weights[-1]
    assert f"Saved step {steps}. Resume with: python train.py resume=" in capsys.readouterr().out
    trainer = fit(tmp_path, {}, Checkpoints(tmp_path, 500), resume=tmp_path / "last.ckpt")
    assert trainer.global_step == 12
    assert len(fit.weights) == 12 - steps
    assert trained_steps(tmp_path) == list(range(12))


def test_an_error_in_validation_keeps_the_weights_of_the_training(tmp_path):
    with pytest.raises(UserError, match="image 7 is broken"):
        fit(tmp_path, {"validation": [7]}, Checkpoints(tmp_path, 500))
    assert len(fit.weights) == 3
    state = saved(tmp_path)
    keys = ("current_model_state", "state_dict")
    raw, ema = (state[key]["denoiser.network.w"].item() for key in keys)
    assert raw == fit.weights[-1]
    first, second, third = fit.weights
    assert ema == pytest.approx(0.5 * (0.5 * first + 0.5 * second) + 0.5 * third)


def test_what_is_saved_already_is_not_saved_again(tmp_path):
    with pytest.raises(UserError, match="image 7"):
        fit(tmp_path, {"validation": [7]}, Checkpoints(tmp_path, 3))
    before = (tmp_path / "step_0000003.ckpt").stat().st_mtime_ns
    assert saved(tmp_path)["global_step"] == 3
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns - before < 1e9


@pytest.mark.parametrize("time", [timedelta(0), timedelta(seconds=1)])
def test_when_time_is_up_the_steps_are_saved_and_the_next_run_has_its_own_time(
    tmp_path, time, capsys
):
    steps, files = 0, set()
    for resume in (None, tmp_path / "last.ckpt"):
        with pytest.raises(TimeIsUp):
            fit(tmp_path, {}, Checkpoints(tmp_path, 10**9), 10**9, resume, time)
        steps += len(fit.weights)
        assert saved(tmp_path)["global_step"] == steps
        assert (len(fit.weights) > 0) == (time > timedelta(0))
        assert trained_steps(tmp_path) == list(range(steps))
        assert capsys.readouterr().out.count("Saved step") == 1
        files.add((tmp_path / "last.ckpt").stat().st_ino)
    assert len(files) == (2 if time else 1)  # a step that is there is not written again
    assert fit(tmp_path, {}, Checkpoints(tmp_path, 500), time=timedelta(1)).global_step == 12


@pytest.mark.parametrize("step", [2, 3])  # before the next batch, and before validation
def test_ctrl_c_finishes_the_step_saves_it_and_says_how_to_go_on(tmp_path, capsys, step):
    class Interrupt(Checkpoints):
        def on_train_batch_end(self, trainer, *arguments):
            super().on_train_batch_end(trainer, *arguments)
            if trainer.global_step == step:
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, {}, Interrupt(tmp_path, 500))
    assert ended.value.code == 130
    assert saved(tmp_path)["global_step"] == len(fit.weights) == step
    assert "resume=" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    fit(tmp_path, {}, Checkpoints(tmp_path, 500), resume=tmp_path / "last.ckpt")
    assert len(fit.weights) == 12 - step
    assert trained_steps(tmp_path) == list(range(12))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(tmp_path, number):
    class Twice(Checkpoints):
        def on_train_batch_end(self, trainer, *arguments):
            signal.raise_signal(number)
            if trainer.global_step == 1:
                signal.raise_signal(number)

    ended = forked(lambda: fit(tmp_path / "run", {}, Twice(tmp_path, 500)), tmp_path)
    assert ended.status == -number
    assert "Traceback" not in ended.text
    assert not (tmp_path / "last.ckpt").exists()


def test_weights_that_are_no_numbers_are_not_saved_after_an_error(tmp_path, capsys):
    class Spoil(Checkpoints):
        def on_validation_start(self, trainer, pl_module):
            with torch.no_grad():
                pl_module.denoiser.network.w.fill_(float("nan"))

    with pytest.raises(UserError, match="image 7"):
        fit(tmp_path, {"validation": [7]}, Spoil(tmp_path, 500))
    assert not (tmp_path / "last.ckpt").exists()
    assert "resume=" not in capsys.readouterr().out


@pytest.mark.parametrize("steps", [12, 13])  # with a validation after the last, and without
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_start"])
def test_a_signal_in_the_last_step_or_validation_ends_it_like_any_other(tmp_path, steps, hook):
    class Interrupted(Checkpoints):
        is_done = False

    def interrupt(self, trainer, *arguments):
        if trainer.global_step == steps - steps % 3 and not self.is_done:
            self.is_done = True
            signal.raise_signal(signal.SIGINT)

    setattr(Interrupted, hook, interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, {}, Interrupted(tmp_path, 500), steps)
    assert ended.value.code == 130
    content = saved(tmp_path)
    assert content["global_step"] == 12
    lacks_validation = hook == "on_train_batch_end"
    assert content["callbacks"]["Stops"] == {"before_validation": lacks_validation}
    assert signal.getsignal(signal.SIGINT) is before
