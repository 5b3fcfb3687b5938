"""Checkpoints: when they are written, and which of them stay."""

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from dbim_lightning.errors import UserError
from dbim_lightning.files import whole
from dbim_lightning.training.folder import LAST, step_name, steps_in
from dbim_lightning.weights.files import PREFIX, SavedDenoiser, read_tensors, write_denoiser

EVERY_S = 600.0  # seconds from one checkpoint to the next, unless steps are given
AT_MOST = 0.01  # of the time may go into writing them
WAIT_S, TRIES = 10.0, 60  # for room on the disk, once training is over

tell = rank_zero_only(print)


class WholeFiles(TorchCheckpointIO):
    """Checkpoints are there whole or not at all.

    All processes wait for the one that writes: what went wrong there is kept in `error`, and is
    raised by nobody.
    """

    def __init__(self) -> None:
        self.error: UserError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        self.error = None
        try:
            with whole(Path(path)) as beside, beside.open("wb") as file:
                try:
                    torch.save(checkpoint, file)
                except RuntimeError as error:  # of torch's writer, at the system's
                    raise (error.__context__ or error) from None
        except UserError as error:
            self.error = error


def save(trainer: Trainer, path: Path) -> UserError | None:
    """Writes a checkpoint in all processes together; returns why it could not be written."""
    trainer.save_checkpoint(path)
    io = trainer.strategy.checkpoint_io
    return trainer.strategy.broadcast(io.error if isinstance(io, WholeFiles) else None)


class Checkpoints(Callback):
    """Saves `step_N.ckpt` every so often, of which the newest stay; `last.ckpt` is the newest.

    Between two steps, after a validation that is due there, so that a run that goes on from there
    does nothing twice. Where a checkpoint cannot be written, training goes on, and the next is
    tried in time; weights that are not finite, or after which steps had to be left out, are not
    saved. It must follow the EMA callback.

    Args:
        folder: of the checkpoints.
        every_n_steps: from one to the next; None takes every 10 minutes, or as seldom as it takes
            for 1 % of the time at most.
        keep_last: how many stay.
        keep_every_n_steps: of these steps the EMA weights stay for good, as `step_N.safetensors`.
    """

    def __init__(
        self,
        folder: Path,
        every_n_steps: int | None = None,
        keep_last: int = 2,
        keep_every_n_steps: int | None = None,
    ):
        self.folder, self.every_n_steps = folder, every_n_steps
        self.keep_last, self.keep_every_n_steps = keep_last, keep_every_n_steps
        self._own: list[str] = []
        self.saved, self._seconds, self._error, self._group = -1, 0.0, None, None

    def state_dict(self) -> dict[str, Any]:
        return {"own": self._own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = map(str, state["own"])  # of a file that may be another person's
        self._own = [name for name in own if re.fullmatch(r"step_\d+\.ckpt", name)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._begun = time.monotonic(), trainer.global_step
        is_there = trainer.strategy.broadcast((self.folder / LAST).exists())
        self.saved = trainer.global_step if is_there else -1
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")  # which does not wait for the devices
        size = self._expected_size(pl_module)
        often = f"{self.every_n_steps} steps" if self.every_n_steps else f"{EVERY_S / 60:.0f} min"
        tell(
            f"Checkpoints of about {_in_words(size)} every {often}, the last {self.keep_last} stay"
        )
        if trainer.is_global_zero:
            for part in self.folder.glob(".*.part"):  # of a run that was killed
                part.unlink()
            self._require_room((self.keep_last + 1) * size)

    def agreed(self, *values: int) -> list[int]:
        """The largest of each value in all processes."""
        found = torch.tensor(values)
        if self._group is not None:
            dist.all_reduce(found, dist.ReduceOp.MAX, self._group)
        return found.tolist()

    def _expected_size(self, pl_module: LightningModule) -> int:
        """Of weights, their average, and two moments for each, in bytes."""
        return 4 * sum(p.numel() * p.element_size() for p in pl_module.parameters())

    def _require_room(self, needed: int) -> None:
        there = next(path for path in (self.folder, *self.folder.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        own = sum((self.folder / name).stat().st_size for name in steps_in(self.folder))
        if free + own < needed:
            raise UserError(
                f"{self.folder} needs {_in_words(needed)} for checkpoints, its disk has "
                f"{_in_words(free)}: make room, write elsewhere with hydra.run.dir=DIR, or keep "
                "fewer with checkpoint.keep_last=1"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """At the end of the training, whose last step waits for a disk that is full."""
        if trainer.global_step >= trainer.max_steps:
            self.save_surely(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step in (self.saved, self._begun):
            return
        if self.every_n_steps:
            due = step % self.every_n_steps == 0
        else:
            waited = time.monotonic() - self._since
            (due,) = self.agreed(int(waited > max(EVERY_S, self._seconds / AT_MOST)))
        keeps = self.keep_every_n_steps and step % self.keep_every_n_steps == 0
        if due or keeps:
            self.save(trainer)

    def save(self, trainer: Trainer, surely: bool = False) -> UserError | None:
        """Saves the last step of `trainer`; tells and returns why it cannot.

        Where several steps in a row were left out, only if it must `surely`.
        """
        module, step = trainer.lightning_module, trainer.global_step
        if (module.skipped_in_a_row > 1 and not surely) or not _are_finite(module):
            return None
        for logger in trainer.loggers:  # whose rows a run that goes on shall find
            logger.save()
        if self.saved >= 0 and trainer.is_global_zero and not self.folder.exists():
            tell(f"\nwarning: {self.folder} is gone: it is made anew, without what it held")
        began, path = time.monotonic(), self.folder / step_name(step)
        before, self._own = self._own, [*self._own, path.name]
        error = save(trainer, path)
        self._since = time.monotonic()
        self._seconds = self._since - began
        if error is None:
            first = trainer.is_global_zero
            error = self._settle(path, module.config, step) if first else None
            error = trainer.strategy.broadcast(error)
        else:
            self._own = before
        if error is not None and str(error) != str(self._error):
            tell(f"\nwarning: {error}; training goes on, and tries again")
        self.saved, self._error = self.saved if error else step, error
        return error

    def _settle(self, path: Path, config: dict[str, Any], step: int) -> UserError | None:
        """Makes a checkpoint the last, takes what is kept for good, and removes older ones."""
        try:
            with whole(self.folder / LAST) as beside:
                _link(path, beside)
            if self.keep_every_n_steps and step % self.keep_every_n_steps == 0:
                kept, state = path.with_suffix(".safetensors"), read_tensors(path)["state_dict"]
                ema = {key.removeprefix(PREFIX): value for key, value in state.items()}
                write_denoiser(kept, SavedDenoiser(kept, config, ema, step))
        except UserError as error:
            return error
        old, self._own = self._own[: -self.keep_last], self._own[-self.keep_last :]
        for name in set(old) - set(self._own):
            with suppress(OSError):
                (self.folder / name).unlink()
        return None

    def save_surely(self, trainer: Trainer) -> None:
        """Saves the step under way, unless that is done; waits for room if there is none.

        Raises:
            UserError: there was none for ten minutes.
        """
        for attempt in range(1, TRIES + 1):
            if trainer.global_step == self.saved:
                return
            error = self.save(trainer, surely=True)
            if error is None:
                return
            tell(f"waiting {WAIT_S:.0f} s for room ({attempt} of {TRIES})")
            time.sleep(WAIT_S)
        raise UserError(str(self._error))


def _are_finite(module: LightningModule) -> bool:
    return all(parameter.isfinite().all() for parameter in module.parameters())


def _link(path: Path, beside: Path) -> None:
    """A second name for a file, or a copy where the file system has no such names."""
    try:
        os.link(path, beside)
    except OSError:
        shutil.copyfile(path, beside)


def _in_words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
