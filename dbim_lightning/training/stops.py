"""The end of a training before its time: signals, time limits, errors, lost processes."""

import os
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from dbim_lightning.commands import program, word
from dbim_lightning.errors import UserError
from dbim_lightning.training.checkpoints import Checkpoints, tell
from dbim_lightning.training.folder import LAST

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


def leave(number: int, _: Any) -> None:
    """Handles a signal before training begins; Lightning's own way ends with status 1."""
    raise SystemExit(128 + number)


def time_limit(max_time: Any) -> timedelta | None:
    """From DD:HH:MM:SS, or timedelta's arguments by name."""
    named = max_time
    try:
        if isinstance(max_time, str):
            days, hours, minutes, seconds = map(int, max_time.split(":"))
            named = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        limit = None if max_time is None else timedelta(**named)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"trainer.max_time={max_time}: give DD:HH:MM:SS") from error
    if limit is not None and limit <= timedelta(0):
        raise UserError(f"trainer.max_time={max_time}: give more than no time")
    return limit


class TimeIsUp(Exception):
    """Training has taken as long as it may."""


class Stops(Callback):
    """Saves the last step and says how to go on, whatever ends a training.

    SIGINT (Ctrl-C), SIGTERM and SIGUSR1 (what Slurm sends before the end, if told to) finish the
    step or validation under way, save, and leave with status 128 + signal; a second one leaves at
    once. All processes leave after the same step. It must follow the EMA callback.

    Args:
        checkpoints: that save.
        max_time: after which it saves and raises `TimeIsUp`, or None.
        requeues: has Slurm, where it is there, start the job again after SIGUSR1.
    """

    def __init__(
        self, checkpoints: Checkpoints, max_time: timedelta | None = None, requeues: bool = False
    ):
        self.checkpoints, self.max_time, self.requeues = checkpoints, max_time, requeues
        self._received, self._previous = 0, {}
        self._before_validation = self.resumed_before_validation = False

    def state_dict(self) -> dict[str, Any]:
        return {"before_validation": self._before_validation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resumed_before_validation = state["before_validation"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        if self.resumed_before_validation:
            self._validate(trainer)

    def _validate(self, trainer: Trainer) -> None:
        """The validation that a signal came before, as Lightning's loop does it."""
        self.resumed_before_validation = False
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def _receive(self, number: int, *_: Any) -> None:
        self._received = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        name = "Interrupted" if number == signal.SIGINT else signal.Signals(number).name
        print(f"\n{name}: saving after this step. A second one leaves at once.", flush=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._leave_if_told(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._previous:
            self._before_validation = True
            self._leave_if_told(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = False

    def _leave_if_told(self, trainer: Trainer) -> None:
        is_over = self.max_time is not None and (
            time.monotonic() - self._start > self.max_time.total_seconds()
        )
        received, is_over = self.checkpoints.agreed(self._received, int(is_over))
        if received or is_over:
            self._leave(trainer, received)

    def _leave(self, trainer: Trainer, received: int) -> None:
        self.checkpoints.save_surely(trainer)
        tell(how_to_resume(self.checkpoints.saved, self.checkpoints.folder))
        if not received:
            raise TimeIsUp
        in_slurm = "SLURM_JOB_ID" in os.environ
        if received == signal.SIGUSR1 and in_slurm and self.requeues and trainer.is_global_zero:
            requeue()
        # a process that Lightning started must not be seen to fail: it would kill the first at once
        raise SystemExit(128 + received if trainer.local_rank == 0 else 0)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        has_begun = bool(self._previous)
        self._restore_handlers()
        is_error = isinstance(exception, Exception) and not isinstance(exception, TimeIsUp)
        if not (has_begun and is_error):
            return
        if trainer.world_size == 1:
            self.checkpoints.save(trainer)
        if (self.checkpoints.folder / LAST).exists():
            tell(how_to_resume(self.checkpoints.saved, self.checkpoints.folder))
        if isinstance(exception, dist.DistBackendError) or "gloo" in str(exception):
            raise UserError(
                f"process {trainer.global_rank} has lost another one of {trainer.world_size}: look "
                "for what that one said before it ended"
            ) from exception

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (received,) = self.checkpoints.agreed(self._received)
        if received:
            self._leave(trainer, received)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def requeue() -> None:
    """Has Slurm start this job again, under the same number."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    done = subprocess.run(["scontrol", "requeue", job], check=False)
    print(f"scontrol requeue {job}: " + ("done" if done.returncode == 0 else "refused"), flush=True)


def how_to_resume(step: int, folder: Path) -> str:
    """What to tell whoever has to go on by hand, below the progress bar."""
    return f"\nSaved step {step}. Resume with: {program('train')} {word('resume', folder / LAST)}"
