"""What a training shows of itself: progress, speed, previews."""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import default_collate

from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import save_sheet, to_uint8
from dbim_lightning.samplers import Sampler, draw
from dbim_lightning.training.checkpoints import tell


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
        try:
            save_sheet(path, list(rows.items()))
        except UserError as error:
            tell(f"\nwarning: {error}; training goes on")
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("preview", [str(path)], step=trainer.global_step)
