"""What happens around the training steps: checkpoints, previews, speed."""

import math
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import default_collate

from dbim_lightning.commands import word
from dbim_lightning.data import spread
from dbim_lightning.pictures import save_sheet, to_uint8
from dbim_lightning.samplers import Sampler, draw
from dbim_lightning.training.folder import LAST


class TimeIsUp(Exception):
    """Training has taken as long as it may."""


class Checkpoints(Callback):
    """Saves `last.ckpt` and `step_N.ckpt` every so many steps, and `last.ckpt` at the end.

    Ctrl-C finishes the step (or validation) under way, saves `last.ckpt`, says how to resume, and
    leaves with status 130; a second Ctrl-C leaves at once. An error saves `last.ckpt`, too, in a
    training of one process. It must follow the EMA callback.

    Args:
        folder: of the checkpoints.
        every_n_steps: from one checkpoint to the next.
        max_time: after which `last.ckpt` is saved and `TimeIsUp` raised, or None.
    """

    def __init__(self, folder: Path, every_n_steps: int, max_time: timedelta | None = None):
        self.folder, self.every_n_steps, self.max_time = folder, every_n_steps, max_time
        self._interrupted, self._saved, self._previous = False, math.inf, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start, self._saved = time.monotonic(), trainer.global_step
        self._previous = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *_: Any) -> None:
        signal.signal(signal.SIGINT, self._previous)
        self._interrupted = True
        print("\nInterrupted: saving after this step. Ctrl-C again leaves at once.", flush=True)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._leave_if_interrupted(trainer)
        if self.max_time is not None:
            is_over = time.monotonic() - self._start > self.max_time.total_seconds()
            if trainer.strategy.broadcast(is_over):
                self._save_last(trainer)
                raise TimeIsUp

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_if_interrupted(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        is_periodic = step % self.every_n_steps == 0
        if is_periodic:
            trainer.save_checkpoint(self.folder / f"step_{step:07d}.ckpt")
        if is_periodic or step == trainer.max_steps:
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST)
        self._saved = trainer.global_step

    def _leave_if_interrupted(self, trainer: Trainer) -> None:
        if self._interrupted and trainer.global_step < trainer.max_steps:
            self._save_last(trainer)
            print(how_to_resume(trainer.global_step, self.folder / LAST), flush=True)
            raise SystemExit(130)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        is_error = isinstance(exception, Exception) and trainer.world_size == 1
        is_whole = all(parameter.isfinite().all() for parameter in pl_module.parameters())
        if is_error and is_whole and trainer.global_step > self._saved:
            self._save_last(trainer)
            print(how_to_resume(trainer.global_step, self.folder / LAST), flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGINT, self._previous)


def how_to_resume(step: int, checkpoint: Path) -> str:
    """What to tell whoever has to go on by hand, below the progress bar."""
    return f"\nSaved step {step}. Resume with: python train.py {word('resume', checkpoint)}"


class Progress(TQDMProgressBar):
    """One bar for the whole training; a resumed run enters it where it stopped."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.train_progress_bar.reset(trainer.max_steps * trainer.accumulate_grad_batches)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """There are no epochs."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class ImagesPerSecond(Callback):
    """Logs the training speed, validation and previews left out."""

    def __init__(self) -> None:
        self._images, self._start = 0, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._start is None:
            self._start = time.monotonic()
            return
        self._images += len(batch["x_0"]) * trainer.world_size
        is_whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_whole_step and trainer.global_step % trainer.log_every_n_steps == 0:
            speed = self._images / (time.monotonic() - self._start)
            pl_module.log("images_per_second", speed, prog_bar=True)
            self._images, self._start = 0, None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._images, self._start = 0, None


class Previews(Callback):
    """Writes source | samples | target of fixed validation images after each validation.

    Samples come from the EMA weights when this callback stands before the EMA callback.

    Args:
        folder: of the PNG files.
        samplers: one row of samples for each.
        num_images: spread evenly over the validation set.
        precision: of the network while it samples: auto, float32, bfloat16 or float16.
    """

    def __init__(
        self, folder: Path, samplers: list[Sampler], num_images: int, precision: str = "auto"
    ):
        self.folder, self.samplers, self.num_images = folder, samplers, num_images
        self.precision = precision

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        dataset = trainer.val_dataloaders.dataset
        shown = spread(dataset, min(self.num_images, len(dataset)))
        batch = default_collate([shown[i] for i in range(len(shown))])
        rows = {"source": to_uint8(batch["x_T"])}
        with pl_module.denoiser.in_precision(self.precision):
            for sampler in self.samplers:
                samples = draw(pl_module.denoiser, sampler, batch, seed=0)
                rows[f"NFE {sampler.calls}"] = to_uint8(samples)
        rows["target"] = to_uint8(batch["x_0"])
        path = self.folder / f"step_{trainer.global_step:07d}.png"
        save_sheet(path, list(rows.items()))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("preview", [str(path)], step=trainer.global_step)
