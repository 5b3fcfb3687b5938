"""Training of a bridge denoiser with Lightning."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data import Pair
from dbim_lightning.errors import UserError
from dbim_lightning.objectives import Objective
from dbim_lightning.samplers import ImageNoise, Uniform
from dbim_lightning.samplers.noise import mixed_seed
from dbim_lightning.weights import CONFIG_KEY

VALIDATION_TIMES = 8
MOST_SKIPPED = 5  # steps in a row that are left out before training stops
MOST_SKIPPED_SCALED = 25  # where a scaler of gradients has to find its scale


def quartile_means(name: str, u: Tensor, values: Tensor) -> dict[str, Tensor]:
    """Means of values over u in [0, 1/4), ..., [3/4, 1); an empty quartile is left out."""
    quartile = (4 * u).long().clamp(max=3)
    return {f"{name}_q{q + 1}": values[quartile == q].mean() for q in quartile.unique().tolist()}


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name].float() for part in parts]) for name in parts[0]}


def _of_all_processes(values: Tensor) -> Tensor:
    found = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(found, values)
    return torch.cat(found)


class BridgeModule(lightning.LightningModule):
    """Trains a denoiser by an objective.

    Logs each value of the objective, and the same by quartile of the training times; in validation
    over a fixed set of times and noises, each image at one time in every eighth of their range.

    Args:
        denoiser: what is trained.
        objective: what a step minimises.
        optimizer: parameters -> optimizer.
        warmup_steps: over which the learning rate rises linearly.
        cooldown_steps: before `trainer.max_steps`, over which it falls linearly to zero.
        config: plain containers that rebuild the denoiser; saved in each checkpoint.
        seed: of what layers draw, such as dropout. With the batch's own seeds a resumed run draws
            what the undisturbed one would have.
    """

    def __init__(
        self,
        denoiser: BridgeDenoiser,
        objective: Objective,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        warmup_steps: int,
        cooldown_steps: int,
        config: dict[str, Any],
        seed: int,
    ):
        super().__init__()
        self.denoiser, self.objective = denoiser, objective
        self.config = config
        self._optimizer, self._seed = optimizer, seed
        self._warmup_steps, self._cooldown_steps = warmup_steps, cooldown_steps
        self._parts: list[dict[str, Tensor]] = []  # of the step under way
        self._recent: list[dict[str, Tensor]] = []  # since the last row of curves
        self._earlier: dict[str, Tensor] = {}  # likewise, of all processes before a resume
        self.skipped_in_a_row = self.skipped_steps = 0

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self._optimizer(self.denoiser.parameters())
        scheduler = LambdaLR(optimizer, self._learning_rate_factor)
        self._base_lrs = scheduler.base_lrs
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _learning_rate_factor(self, step: int) -> float:
        rise = (step + 1) / max(self._warmup_steps, 1)
        fall = (self.trainer.max_steps - step) / max(self._cooldown_steps, 1)
        return min(rise, fall, 1.0)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Counts batches as if all steps had been accumulated as now, and the last was ending.

        Lightning's counters depend on the moment when a checkpoint was written; a validation that
        an error ended would go on in its middle.
        """
        step, loop = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
        done = step * self.trainer.accumulate_grad_batches
        counts = {"ready": done, "started": done, "processed": done, "completed": done - 1}
        loop["epoch_loop.batch_progress"] |= {"total": counts, "current": dict(counts)}
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step - 1
        loop.pop("epoch_loop.val_loop.batch_progress", None)
        self._earlier = checkpoint.get("since_last_row", {})
        self.skipped_steps = checkpoint.get("skipped_steps", 0)

    def on_train_start(self) -> None:
        self._apply_optimizer_options()

    def _apply_optimizer_options(self) -> None:
        """The configured options instead of those in a checkpoint's state of the optimiser."""
        options = getattr(self._optimizer, "keywords", {})  # of the partial that Hydra makes
        scheduler, factor = self.lr_schedulers(), self._learning_rate_factor(self.global_step)
        scheduler.base_lrs = self._base_lrs
        for group, lr in zip(scheduler.optimizer.param_groups, self._base_lrs, strict=True):
            group |= {key: value for key, value in options.items() if key in group}
            group |= {"initial_lr": lr, "lr": lr * factor}

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        part = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(mixed_seed(self._seed, self.global_step, part, self.global_rank))
        values = self.objective(self.denoiser, batch, self.global_step)
        self._parts.append({name: value.detach() for name, value in values.items()})
        loss = values["loss"].mean()
        return loss * (1 + 0 * loss.detach())  # makes every gradient NaN if the loss is not finite

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leaves a step out whose loss or gradient is not finite: it then has no gradients.

        A scaler of gradients leaves it out itself, and fails without gradients to look at.

        Raises:
            UserError: many such steps in a row.
        """
        gradients = [p.grad for p in self.denoiser.parameters() if p.grad is not None]
        if torch.nn.utils.get_total_norm(gradients).isfinite():
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        self.skipped_steps += 1
        scales = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not scales:
            optimizer.zero_grad(set_to_none=True)
        if self.skipped_in_a_row >= (MOST_SKIPPED_SCALED if scales else MOST_SKIPPED):
            raise UserError(self._why_stopped(optimizer))

    def _why_stopped(self, optimizer: Optimizer) -> str:
        step = _joined(self._parts)
        u, loss = step["u"], step["loss"].cpu()
        worst = loss.nan_to_num(nan=torch.inf).argmax()
        schedule = self.denoiser.schedule
        times = getattr(self.objective, "times", Uniform())
        t = times(schedule, schedule.t_max, u[worst : worst + 1]).item()
        rates = {group["lr"] for group in optimizer.param_groups}
        return (
            f"step {self.global_step + 1}: the last {self.skipped_in_a_row} steps had a loss or a "
            f"gradient that is not finite and were left out (loss {loss[worst]:.3g} at t={t:.4g}, "
            f"learning rate {', '.join(f'{rate:.3g}' for rate in rates)}): go on from the last "
            "checkpoint, or the one before, with a lower training.optimizer.lr, or look for images "
            "that are no numbers"
        )

    def on_train_batch_end(self, outputs: Any, batch: Pair, batch_idx: int) -> None:
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            self._recent += self._parts
            self._parts = []
            if self.global_step % self.trainer.log_every_n_steps == 0:
                self._log_recent()
        if self.skipped_steps:
            self.log("skipped_steps", float(self.skipped_steps), prog_bar=True)

    def _log_recent(self) -> None:
        """Means over the steps since the last call, so that steps read nothing back."""
        recent = self._since_last_row()
        self._recent, self._earlier = [], {}
        u = recent.pop("u")
        self.log("loss", recent["loss"].mean(), prog_bar=True, logger=False)
        for name, values in recent.items():
            self.log(f"train/{name}", values.mean())
            nothing = {f"train/{name}_q{q}": math.nan for q in (1, 2, 3, 4)}  # or an earlier value
            self.log_dict(nothing | quartile_means(f"train/{name}", u, values))

    def _since_last_row(self) -> dict[str, Tensor]:
        """What all processes have found since the last row of curves, on the CPU."""
        if not self._recent:
            return self._earlier
        recent = _joined(self._recent)
        if self.trainer.world_size > 1:
            recent = {name: _of_all_processes(values) for name, values in recent.items()}
        earlier = [self._earlier] if self._earlier.keys() == recent.keys() else []
        return _joined([*earlier, {name: values.cpu() for name, values in recent.items()}])

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        x_0, index = batch["x_0"], batch["index"]
        noise = ImageNoise(0, index.tolist())
        offset = (index.cpu().double() * 0.6180339887498949) % 1
        places = [(k + offset) / VALIDATION_TIMES for k in range(VALIDATION_TIMES)]
        found = [self.objective.at(self.denoiser, batch, u, noise(x_0)) for u in places]
        for name in found[0]:
            values = torch.stack([of[name] for of in found])
            by_quartile = values.reshape(4, -1).mean(dim=1)
            means = {f"val/{name}_q{q + 1}": mean for q, mean in enumerate(by_quartile)}
            means[f"val/{name}"] = values.mean()
            self.log_dict(means, batch_size=len(index), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = self.config
        checkpoint["since_last_row"] = self._since_last_row()
        checkpoint["skipped_steps"] = self.skipped_steps
