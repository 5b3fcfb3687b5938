"""Trainings of small networks on random pairs, with the parts that train.py puts together."""

import lightning
import torch

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.objectives import BridgeMatching
from dbim_lightning.training import BridgeModule, WholeFiles
from dbim_lightning.training.loggers import make_loggers


class Pairs(torch.utils.data.Dataset):
    """So many pairs of that size."""

    def __init__(self, number, size=8):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(number, 2, 3, size, size, generator=generator) * 2 - 1

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        x_0, x_T = self.images[index]
        return {"x_0": x_0, "x_T": x_T, "index": index, "name": str(index)}


class At(lightning.Callback):
    """Does something at the end of a step, and keeps the weight after each."""

    def __init__(self, **actions):
        self.actions = {int(step.removeprefix("step_")): do for step, do in actions.items()}
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append(pl_module.denoiser.network.w.item())
        self.actions.get(trainer.global_step, lambda: None)()


def train(folder, network, optimizer, data, resume=None, ramps=(0, 0), plugins=(), **options):
    """The trainer, of these more options, when it has trained into a folder.

    Args:
        ramps: steps of warm-up and of cool-down.
    """
    denoiser = BridgeDenoiser(network, VPSchedule(), DDBMPreconditioning())
    config = {"denoiser": {}}
    module = BridgeModule(denoiser, BridgeMatching(), optimizer, *ramps, config, seed=0)
    step = resume and torch.load(resume, weights_only=True)["global_step"]
    trainer = lightning.Trainer(
        max_epochs=-1,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        logger=make_loggers(folder, "test", step),
        plugins=[WholeFiles(), *plugins],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return trainer
