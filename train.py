"""Trains a diffusion bridge: python train.py [group=choice] [key=value]; --help explains."""

import json
import logging
import os
import warnings
from functools import partial
from pathlib import Path

import hydra
import lightning
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from dbim_lightning import config
from dbim_lightning.bridge import precision_on
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.files import write_whole
from dbim_lightning.training import (
    BridgeModule,
    Evaluations,
    device_of,
    load_initial,
    make_loggers,
    resumed_config,
    trainer_precision,
)
from dbim_lightning.training.callbacks import Checkpoints, ImagesPerSecond, Previews, Progress

print_once = rank_zero_only(print)


def make_module(cfg: DictConfig) -> BridgeModule:
    """The denoiser that the configuration describes, with its training settings."""
    return BridgeModule(
        config.instantiate(cfg.denoiser),
        config.instantiate(cfg.objective),
        config.instantiate(cfg.training.optimizer),
        cfg.training.warmup_steps,
        cfg.training.cooldown_steps,
        OmegaConf.to_container(cfg, resolve=True),
        cfg.seed,
    )


def make_evaluations(cfg: DictConfig, folder: Path) -> list[Evaluations]:
    """The callback that the configuration describes under `evaluation`, or none where it is off."""
    options = config.typed(cfg.evaluation, config.EvaluationValues)
    if not options.every_n_steps:
        if options.best is not None:
            raise UserError(f"evaluation.best={options.best} needs evaluation.every_n_steps=N")
        return []
    callback = Evaluations(
        folder,
        config.instantiate(cfg.dataset),
        partial(config.instantiate, cfg.evaluation.metrics),
        [config.instantiate(cfg.sampler, nfe=nfe) for nfe in options.nfe],
        options.every_n_steps,
        options.num_images,
        options.best,
        cfg.precision,
    )
    return [callback]


def make_trainer(cfg: DictConfig, folder: Path) -> lightning.Trainer:
    """A Trainer that writes everything into `folder`."""
    samplers = [config.instantiate(cfg.sampler, nfe=nfe) for nfe in cfg.preview.nfe]
    precision = cfg.trainer.precision
    if precision == "auto":
        precision = trainer_precision(device_of(cfg.trainer.accelerator))
    return config.instantiate(
        cfg.trainer,
        precision=precision,
        default_root_dir=folder,
        logger=make_loggers(folder, cfg.wandb_project),
        callbacks=[
            Progress(refresh_rate=10),
            ImagesPerSecond(),
            Previews(folder / "previews", samplers, cfg.preview.num_images, cfg.precision),
            *make_evaluations(cfg, folder),
            config.instantiate(cfg.training.ema),
            Checkpoints(folder / "checkpoints", cfg.checkpoint_every_n_steps),
        ],
    )


def train(cfg: DictConfig, folder: Path) -> None:
    """Runs one training; training.json marks it as finished."""
    overrides = list(HydraConfig.get().overrides.task)
    if cfg.resume:
        cfg = resumed_config(Path(cfg.resume), cfg, overrides)
    config.check_overrides("train", cfg, overrides)
    config.require_complete(cfg)
    precision_on(device_of(cfg.trainer.accelerator), cfg.precision)  # refuses what does not exist
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    module, data = make_module(cfg), config.instantiate(cfg.data)
    if cfg.get("weights") and not cfg.resume:
        schedule = OmegaConf.to_container(cfg.denoiser, resolve=True)["schedule"]
        load_initial(module.denoiser, Path(cfg.weights), schedule)
    trainer = make_trainer(cfg, folder)
    count = sum(parameter.numel() for parameter in module.parameters())
    print_once(f"Training {count / 1e6:.2f} M parameters in {folder}")
    trainer.fit(module, data, ckpt_path=cfg.resume, weights_only=True)
    metrics = {key: value.item() for key, value in trainer.logged_metrics.items()}
    if trainer.max_steps % cfg.trainer.val_check_interval:
        metrics |= trainer.validate(module, data, verbose=False)[0]
    if trainer.is_global_zero:
        write_whole(folder / "training.json", json.dumps({"step": trainer.global_step, **metrics}))
    print_once(f"Previews: {folder}/previews")
    print_once(f"Evaluate: python evaluate.py -m runs={folder.parent} nfe=2,5,10,20")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    train(cfg, Path(os.path.relpath(HydraConfig.get().runtime.output_dir)))


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*(does not have many workers|LeafSpec).*")
    with one_line_errors(OSError), config.one_line_hydra_errors("train"):
        main()
