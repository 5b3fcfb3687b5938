"""Which checkpoints are written and stay, on a disk that fills and with numbers that are none."""

import csv
import errno
import resource
import shutil
import signal
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from linear_network import Linear
from short_training import At, Pairs, train

from dbim_lightning.errors import UserError
from dbim_lightning.training import (
    EMA,
    Checkpoints,
    PairDataModule,
    Stops,
    WholeFiles,
    checkpoints,
)
from dbim_lightning.weights.files import CONFIG_KEY, read_tensors


def pairs(split, spoilt):
    """Twelve pairs, of which some have no numbers."""
    made = Pairs(12)
    if split == "train":
        made.images[list(spoilt)] = torch.nan
    return made


def fit(
    folder,
    kept,
    at=None,
    steps=12,
    spoilt=(),
    lr=0.1,
    resume=None,
    adam=None,
    **options,
):
    trainer = train(
        folder,
        Linear(),
        adam or partial(torch.optim.SGD, lr=lr),
        PairDataModule(partial(pairs, spoilt=spoilt), batch_size=1),
        resume,
        max_steps=steps,
        val_check_interval=1000,
        log_every_n_steps=1,
        callbacks=[at or At(), EMA(0.5, ramp=False), kept, Stops(kept)],
        **options,
    )
    return trainer.lightning_module


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def saved(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def losses(folder):
    with (folder / "logs" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file)}


def test_the_newest_stay_and_of_some_the_ema_weights_for_good(tmp_path, capsys):
    fit(tmp_path, Checkpoints(tmp_path / "checkpoints", 2, keep_last=2, keep_every_n_steps=5))
    assert names(tmp_path) == [
        "last.ckpt",
        "step_0000005.safetensors",
        "step_0000010.ckpt",
        "step_0000010.safetensors",
        "step_0000012.ckpt",
    ]
    assert "every 2 steps, the last 2 stay" in capsys.readouterr().out
    last, step = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "step_0000012.ckpt"))
    assert last.samefile(step)
    ema = saved(tmp_path, "step_0000010.ckpt")["state_dict"]["denoiser.network.w"]
    kept = read_tensors(tmp_path / "checkpoints" / "step_0000010.safetensors")
    assert torch.equal(kept["w"], ema)
    assert CONFIG_KEY in kept
    assert kept["step"] == "10"


def test_a_run_that_goes_on_deletes_what_it_wrote_before_and_nothing_else(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("step_0000001.ckpt", "mine.ckpt"):
        (folder / name).write_bytes(b"of an earlier version, or my own")
    (folder / ".last.ckpt.0123.part").touch()  # of a run that was killed
    fit(tmp_path, Checkpoints(folder, 2, keep_last=2), steps=5)
    fit(tmp_path, Checkpoints(folder, 2, keep_last=2), resume=folder / "last.ckpt", steps=9)
    own = ["step_0000008.ckpt", "step_0000009.ckpt"]
    assert names(tmp_path) == ["last.ckpt", "mine.ckpt", "step_0000001.ckpt", *own]


def test_a_checkpoint_of_another_person_has_nothing_deleted(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.touch()
    kept = Checkpoints(tmp_path / "checkpoints", 1, keep_last=1)
    kept.load_state_dict({"own": ["../mine.txt", str(mine), "step_0000001.ckpt", 5]})
    fit(tmp_path, kept, steps=2)
    assert mine.exists()
    assert names(tmp_path) == ["last.ckpt", "step_0000002.ckpt"]


def test_a_step_that_is_written_for_the_second_time_stays(tmp_path):
    kept = Checkpoints(tmp_path / "checkpoints", 1, keep_last=1)
    kept.load_state_dict({"own": ["step_0000001.ckpt"]})  # in another folder
    fit(tmp_path, kept, steps=1)
    assert names(tmp_path) == ["last.ckpt", "step_0000001.ckpt"]


def test_a_checkpoint_that_somebody_deleted_is_not_missed(tmp_path):
    folder = tmp_path / "checkpoints"
    at = At(step_3=(folder / "step_0000002.ckpt").unlink)
    fit(tmp_path, Checkpoints(folder, 2, keep_last=1), at, steps=6)
    assert names(tmp_path) == ["last.ckpt", "step_0000006.ckpt"]


def test_where_files_have_one_name_alone_the_last_is_a_copy(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(checkpoints.os, "link", link)
    monkeypatch.setattr(checkpoints, "WAIT_S", 0.0)
    fit(tmp_path, Checkpoints(tmp_path / "checkpoints", 500), steps=3)
    last, step = (tmp_path / "checkpoints" / name for name in names(tmp_path))
    assert step.name == "step_0000003.ckpt"
    assert not last.samefile(step)
    assert last.read_bytes() == step.read_bytes()


def test_a_checkpoint_for_which_there_is_room_in_part_leaves_nothing(tmp_path):
    files, (soft, hard) = WholeFiles(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        files.save_checkpoint({"w": torch.zeros(100_000)}, tmp_path / "a.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write" in str(files.error)
    assert "a.ckpt (File too large)" in str(files.error)
    assert list(tmp_path.iterdir()) == []
    files.save_checkpoint({"w": torch.zeros(100_000)}, tmp_path / "a.ckpt")
    assert files.error is None


def test_without_steps_time_decides_and_writing_takes_little_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    kept = Checkpoints(tmp_path / "checkpoints", keep_last=99)
    fit(tmp_path, kept)
    assert len(names(tmp_path)) < 12  # of 1 ms steps, writing takes more than 1 %
    monkeypatch.setattr(checkpoints, "AT_MOST", 1e9)
    fit(tmp_path / "often", Checkpoints(tmp_path / "often" / "checkpoints", keep_last=99))
    assert len(names(tmp_path / "often")) == 13


def test_a_disk_that_fills_costs_no_step_if_room_returns(tmp_path, capsys):
    folder, away = tmp_path / "run", tmp_path / "away"

    def fill():
        folder.rename(away)
        folder.write_text("a file, where nothing can be written")

    def free():
        folder.unlink()
        away.rename(folder)

    def kept_meanwhile():
        assert saved(away)["global_step"] == kept.saved == 3

    kept = Checkpoints(folder / "checkpoints", 3, keep_last=3)
    at = At(step_4=fill, step_8=kept_meanwhile, step_9=free)
    with pytest.warns(UserWarning, match=r"cannot write .*metrics\.csv"):
        fit(folder, kept, at)
    printed = capsys.readouterr().out
    assert printed.count("cannot write") == 1
    assert "training goes on" in printed
    assert saved(folder)["global_step"] == 12
    assert losses(folder).keys() == set(range(12))
    own = [f"step_{step:07d}.ckpt" for step in (3, 9, 12)]  # the last 3 that are there
    assert names(folder) == ["last.ckpt", *own]


def test_a_folder_that_is_removed_is_told_of(tmp_path, capsys):
    folder = tmp_path / "run"
    fit(folder, Checkpoints(folder / "checkpoints", 2), At(step_5=lambda: shutil.rmtree(folder)))
    assert capsys.readouterr().out.count("checkpoints is gone: it is made anew") == 1
    assert saved(folder)["global_step"] == 12


def test_the_last_step_waits_for_room(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    (tmp_path / "run").mkdir()
    blocked = folder / "checkpoints"
    monkeypatch.setattr(checkpoints.time, "sleep", lambda _: blocked.unlink(missing_ok=True))
    fit(folder, Checkpoints(blocked, 500), At(step_2=blocked.touch))
    assert "waiting 10 s for room (1 of 60)" in capsys.readouterr().out
    assert saved(folder)["global_step"] == 12
    monkeypatch.setattr(checkpoints, "TRIES", 2)
    monkeypatch.setattr(checkpoints.time, "sleep", lambda _: None)
    never = tmp_path / "never"
    never.mkdir()
    with pytest.raises(UserError, match=r"cannot write .*never"):
        fit(
            never, Checkpoints(never / "checkpoints", 500), At(step_2=(never / "checkpoints").touch)
        )


def test_checkpoints_that_the_disk_cannot_hold_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: type("", (), {"free": 1})())
    at = At()
    with pytest.raises(UserError, match=r"needs 0 MB .*checkpoint\.keep_last=1"):
        fit(tmp_path, Checkpoints(tmp_path / "checkpoints"), at)
    assert at.weights == []
    assert not (tmp_path / "checkpoints").exists()


def test_what_a_run_has_written_before_is_room_for_what_it_writes(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("last.ckpt", "step_0000009.ckpt"):
        (folder / name).write_bytes(bytes(20))
    for free, fits in ((27, False), (28, True)):  # and 20, of three times 16
        usage = type("", (), {"free": free})()
        monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _, usage=usage: usage)
        with nullcontext() if fits else pytest.raises(UserError, match="for checkpoints"):
            fit(tmp_path, Checkpoints(folder, 500, keep_last=2), steps=1)


def test_a_step_with_an_image_that_is_no_number_changes_nothing(tmp_path):
    at = At()
    kept = Checkpoints(tmp_path / "checkpoints")
    module = fit(tmp_path, kept, at, 72, spoilt=[3])
    assert module.skipped_steps == 6
    assert saved(tmp_path)["skipped_steps"] == 6
    before = [at.weights[i] == at.weights[i - 1] for i in range(1, 72)]
    assert sum(before) == 6
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert fit(tmp_path, kept, resume=last, steps=84, spoilt=[3]).skipped_steps == 7
    assert torch.isfinite(torch.tensor(at.weights)).all()


def test_a_scaler_has_more_steps_to_find_its_scale(tmp_path):
    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with pytest.raises(UserError, match="step 25: the last 25 steps had"):
        fit(tmp_path, Checkpoints(tmp_path), steps=99, spoilt=range(12), plugins=[scaled])


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_of_gradients_leaves_such_a_step_out_too(tmp_path, fused):
    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    adam = partial(torch.optim.AdamW, lr=0.1, fused=fused)
    at, kept = At(), Checkpoints(tmp_path / "checkpoints")
    module = fit(tmp_path, kept, at, 24, spoilt=[3], adam=adam, plugins=[scaled])
    assert module.skipped_steps == 2
    assert sum(at.weights[i] == at.weights[i - 1] for i in range(1, 24)) == 2
    assert torch.isfinite(torch.tensor(at.weights)).all()
    assert scaled.scaler.get_scale() == 2.0  # halved by each


def test_the_image_that_spoils_a_step_of_several_batches_is_told_of(tmp_path):
    with pytest.raises(UserError, match=r"\(loss nan at t="):
        fit(tmp_path, Checkpoints(tmp_path), spoilt=[0], accumulate_grad_batches=12)


def test_many_of_them_in_a_row_stop_it_and_spoil_no_checkpoint(tmp_path):
    at = At()
    with pytest.raises(
        UserError, match=r"step \d+: the last 5 steps .*loss nan at t=0\.\d+, learn"
    ):
        fit(tmp_path, Checkpoints(tmp_path / "checkpoints", 1), at, spoilt=[*range(11)])
    good = saved(tmp_path) if (tmp_path / "checkpoints" / "last.ckpt").exists() else None
    assert len(at.weights) < 12
    assert good is None or torch.isfinite(good["state_dict"]["denoiser.network.w"])


def test_of_steps_that_are_left_out_the_first_alone_is_saved_or_where_a_signal_comes(tmp_path):
    run, stopped = tmp_path / "run", tmp_path / "stopped"
    with pytest.raises(UserError, match="the last 5 steps"):
        fit(run, Checkpoints(run / "checkpoints", 1, keep_last=9), spoilt=range(12))
    assert names(run) == ["last.ckpt", "step_0000001.ckpt"]
    at = At(step_3=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        fit(stopped, Checkpoints(stopped / "checkpoints", 500), at, spoilt=range(12))
    assert saved(stopped)["global_step"] == saved(stopped)["skipped_steps"] == 3


def test_a_learning_rate_that_explodes_leaves_good_weights(tmp_path):
    with pytest.raises(UserError, match=r"left out \(loss .* at t=.*, learning rate 1e\+25\)"):
        fit(tmp_path, Checkpoints(tmp_path / "checkpoints", 1), lr=1e25)
    for path in (tmp_path / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        assert torch.isfinite(state["state_dict"]["denoiser.network.w"])
        assert torch.isfinite(state["current_model_state"]["denoiser.network.w"])


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_signals_save_the_step_and_are_told_by_the_status(tmp_path, number, status, capsys):
    before = signal.getsignal(number)
    at = At(step_4=lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, Checkpoints(tmp_path / "checkpoints"), at)
    assert ended.value.code == status
    assert saved(tmp_path)["global_step"] == len(at.weights) == 4
    assert "Saved step 4. Resume with: python train.py resume=" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_slurm_starts_a_job_again_that_goes_on_by_itself(tmp_path, monkeypatch, capfd):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ >> {tmp_path / 'called'}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    called = Path(tmp_path / "called")
    for requeues, job, number in (
        (True, None, signal.SIGUSR1),
        (False, "7", signal.SIGUSR1),
        (True, "7", signal.SIGTERM),
        (True, "7", signal.SIGUSR1),
    ):
        if job:
            monkeypatch.setenv("SLURM_JOB_ID", job)
        kept = Checkpoints(tmp_path / "checkpoints")
        stops = Stops(kept, requeues=requeues)
        stops.checkpoints.saved = 3
        trainer = type("", (), {"global_step": 3, "is_global_zero": True, "local_rank": 0})()
        stops._received = number
        with pytest.raises(SystemExit):
            stops._leave_if_told(trainer)
        assert called.exists() == (requeues and job is not None and number == signal.SIGUSR1)
    assert called.read_text() == "requeue 7\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(SystemExit):
        stops._leave_if_told(trainer)
    assert called.read_text() == "requeue 7\nrequeue 6_2\n"
