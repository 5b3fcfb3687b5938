"""What safeguards cost a training: python -m benchmarks.safeguards [key=value, as for train.py].

Trains the demo's bridge in turns with and without them, and prints the ratio of the times of a
step: random numbers by position, the look at loss and gradient, signals and time limits between
steps. Checkpoints are not in it: they are written as seldom as it takes for 1 % of the time.
"""

import logging
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import lightning
import torch
from omegaconf import OmegaConf
from torch.utils.data import Dataset

from dbim_lightning import composing, config
from dbim_lightning.train import make_module
from dbim_lightning.training import BridgeModule, Checkpoints, Stops, WholeFiles, datamodule

TURNS, STEPS = 6, 12


class Bare(Dataset):
    """Pairs with flips alone, by torch's generator."""

    def __init__(self, dataset, seed, flip):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, place):
        pair = dict(self.dataset[place[1]])
        if torch.rand(()) < 0.5:
            pair |= {key: pair[key].flip(-1) for key in ("x_0", "x_T")}
        return pair


class StepTimes(lightning.Callback):
    def __init__(self):
        self.seconds = []

    def on_train_batch_end(self, *_):
        self.seconds.append(time.perf_counter())


def seconds_per_step(cfg, folder: Path, guarded: bool) -> float:
    module, times = make_module(cfg), StepTimes()
    pairs, check = datamodule.TrainingPairs, BridgeModule.on_before_optimizer_step
    checkpoints = Checkpoints(folder)
    if not guarded:
        datamodule.TrainingPairs = Bare
        BridgeModule.on_before_optimizer_step = lambda self, optimizer: None
    try:
        trainer = lightning.Trainer(
            max_steps=STEPS,
            max_epochs=-1,
            limit_val_batches=0,
            accelerator=cfg.trainer.accelerator,
            gradient_clip_val=cfg.training.gradient_clip_val,
            logger=False,
            plugins=[WholeFiles()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[times, *([checkpoints, Stops(checkpoints)] if guarded else [])],
        )
        checkpoints.on_train_epoch_end = lambda *_: None
        trainer.fit(module, config.instantiate(cfg.data))
    finally:
        datamodule.TrainingPairs, BridgeModule.on_before_optimizer_step = pairs, check
    between = [b - a for a, b in zip(times.seconds[1:], times.seconds[2:], strict=False)]
    return median(between)


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    cfg = composing.compose("train", sys.argv[1:])
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    with tempfile.TemporaryDirectory() as folder:
        turns = [
            (seconds_per_step(cfg, Path(folder), True), seconds_per_step(cfg, Path(folder), False))
            for _ in range(TURNS)
        ]
    ratios = sorted(guarded / bare for guarded, bare in turns)
    print(f"a step takes {median(bare for _, bare in turns):.3f} s without safeguards")
    print(f"with them {median(ratios):.3f} times as long ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
