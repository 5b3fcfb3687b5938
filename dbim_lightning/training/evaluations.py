"""Samplers judged while the bridge is trained, and the checkpoint that does best."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import Dataset

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.files import read_json, whole, write_json
from dbim_lightning.samplers import Sampler
from dbim_lightning.training.checkpoints import save, tell

BEST = "best.json"


class Evaluations(Callback):
    """Evaluates samplers on validation images every so many steps, and at the end of training.

    It does so at the first validation from then on, and must stand before the EMA callback, so that
    samples come from the EMA weights. All loggers get the numbers, as eval/dbim_nfe10/mse: class of
    the sampler, NFE, metric. Training draws the same random numbers as without.

    Args:
        folder: of the run; the best checkpoint goes where `Checkpoints` writes, checkpoints/.
        dataset: split -> pairs.
        protocol: makes it; its split and baselines are left aside.
        samplers: that differ in class or NFE.
        every_n_steps: from one evaluation to the next.
        num_images: spread evenly over the split, or all of it if it has fewer.
        best: the logged number by which `best.ckpt` is chosen, or None.
        precision: of the network while it samples: auto, float32, bfloat16 or float16.

    Raises:
        UserError: no steps between evaluations, or no number of the name `best`.
    """

    def __init__(
        self,
        folder: Path,
        dataset: Callable[..., Dataset],
        protocol: Callable[[], Protocol],
        samplers: Sequence[Sampler],
        every_n_steps: int,
        num_images: int,
        best: str | None = None,
        precision: str = "auto",
    ):
        if every_n_steps < 1:
            raise UserError(f"evaluation.every_n_steps={every_n_steps}: use 1 or more")
        self.folder, self.dataset = folder, dataset
        with isolate_rng():
            self.protocol = replace(protocol(), split="validation", baselines=False)
        self.samplers = {f"eval/{type(s).__name__.lower()}_nfe{s.calls}": s for s in samplers}
        self.every_n_steps, self.num_images, self.best = every_n_steps, num_images, best
        self.precision = precision
        metrics = [metric for metric in self.protocol.metrics if metric.noises == 1]
        names = [name for metric in metrics for name in metric.columns]
        logged = [f"{sampler}/{name}" for sampler in self.samplers for name in names]
        if best is not None and best not in logged:
            raise UserError(f"evaluation.best={best}: choose one of {', '.join(logged)}")
        self._step, self._smallest, self._improved = None, math.inf, False
        self._evaluator: Evaluator | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._dataset = pl_module.config.get("dataset")
        self._step = trainer.global_step if self._step is None else self._step
        self._smallest = self._kept()
        with isolate_rng():
            self._evaluator = self._make_evaluator(pl_module)
        with isolate_rng():  # a metric that fails shall do so now
            self._evaluator.judge_sources("Trying the metrics on the sources")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that goes on from its last step begins here."""
        if self._evaluator is None:
            self.on_train_start(trainer, pl_module)

    def _kept(self) -> float:
        """The cost of the best checkpoint that an earlier run left in the folder."""
        file = self.folder / "checkpoints" / BEST
        if not (file.exists() and file.with_suffix(".ckpt").exists()):
            return math.inf
        try:
            kept = read_json(file, "it is written anew")
        except UserError:
            return math.inf
        is_same = {**kept, "cost": None} == {**self._judged_by(), "cost": None}
        cost = kept.get("cost")
        return cost if is_same and type(cost) in (int, float) else math.inf

    def _judged_by(self) -> dict[str, Any]:
        """What the best number depends on beside the weights."""
        return {"best": self.best, "num_images": self.num_images, "dataset": self._dataset}

    def _make_evaluator(self, pl_module: LightningModule) -> Evaluator:
        return Evaluator(
            self.dataset,
            self.protocol,
            pl_module.device,
            min(self.num_images, len(self.dataset("validation"))),
            self.folder / "evaluation",
            {"dataset": pl_module.config.get("dataset")},
        )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step, before = trainer.global_step, self._step
        due = step // self.every_n_steps > before // self.every_n_steps
        if step == before or not (due or step == trainer.max_steps):
            return
        with isolate_rng():
            numbers = self._numbers(pl_module.denoiser)
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step)
            logger.save()
        self._step = step
        if self.best is not None and self._cost(numbers) < self._smallest:
            self._smallest, self._improved = self._cost(numbers), True

    def _cost(self, numbers: dict[str, float]) -> float:
        column = self._evaluator.protocol.columns[self.best.rpartition("/")[2]]
        return -numbers[self.best] if column.better == "↑" else numbers[self.best]

    def _numbers(self, denoiser: BridgeDenoiser) -> dict[str, float]:
        numbers = {}
        with denoiser.in_precision(self.precision):
            for name, sampler in self.samplers.items():
                stream = self._evaluator.generation(denoiser, sampler, seed=0)
                values = self._evaluator.judge(stream, name)
                numbers |= {f"{name}/{metric}": value for metric, value in values.items()}
        return numbers

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after the EMA callback has put the training's weights back.

        In a validation after training they are gone, and `last.ckpt` has them.
        """
        if not self._improved:
            return
        self._improved, folder = False, self.folder / "checkpoints"
        is_fitting, error = trainer.state.fn == TrainerFn.FITTING, None
        try:
            if is_fitting:
                error = save(trainer, folder / "best.ckpt")
            elif trainer.is_global_zero:
                with whole(folder / "best.ckpt") as beside:
                    shutil.copyfile(folder / "last.ckpt", beside)
            if trainer.is_global_zero and error is None:
                write_json(folder / BEST, {**self._judged_by(), "cost": self._smallest})
        except UserError as full:
            error = full
        if error is not None:
            tell(f"\nwarning: {error}; the best is not kept")
