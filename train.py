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
from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import one_line_errors
from dbim_lightning.training import (
    BridgeModule,
    Checkpoints,
    ImagesPerSecond,
    Previews,
    best_precision,
    make_loggers,
    resumed_config,
)

instantiate = partial(hydra_instantiate, _convert_="all")


def train(cfg: DictConfig, folder: Path) -> Path:
    """Runs one training in `folder` and returns its last checkpoint."""
    if cfg.resume:
        cfg = resumed_config(Path(cfg.resume), HydraConfig.get().overrides.task)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    denoiser = BridgeDenoiser(
        instantiate(cfg.network), instantiate(cfg.schedule), instantiate(cfg.preconditioning)
    )
    module = BridgeModule(
        denoiser,
        instantiate(cfg.training.optimizer),
        cfg.training.warmup_steps,
        cfg.training.cooldown_steps,
        OmegaConf.to_container(cfg, resolve=True),
        cfg.seed,
    )
    samplers = [instantiate(cfg.sampler, nfe=nfe) for nfe in cfg.preview.nfe]
    checkpoints = folder / "checkpoints"
    trainer = instantiate(
        cfg.trainer,
        precision=best_precision() if cfg.trainer.precision == "auto" else cfg.trainer.precision,
        default_root_dir=folder,
        logger=make_loggers(folder, cfg.wandb_project),
        callbacks=[
            ImagesPerSecond(),
            Previews(folder / "previews", samplers, cfg.preview.num_images),
            instantiate(cfg.training.ema),
            Checkpoints(checkpoints, cfg.checkpoint_every_n_steps),
        ],
    )
    parameters = sum(parameter.numel() for parameter in denoiser.parameters())
    print(f"Training {parameters / 1e6:.2f} M parameters in {folder}")
    trainer.fit(module, instantiate(cfg.data), ckpt_path=cfg.resume, weights_only=True)
    if trainer.is_global_zero:
        write_result(trainer, folder)
    return checkpoints / "last.ckpt"


def write_result(trainer: lightning.Trainer, folder: Path) -> None:
    """Writes training.json, which marks the run as finished."""
    result = {"step": trainer.global_step}
    result |= {key: value.item() for key, value in trainer.logged_metrics.items()}
    (folder / "training.json").write_text(json.dumps(result, indent=1))


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    folder = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    checkpoint = train(cfg, folder)
    print(f"Previews: {folder / 'previews'}")
    print(f"Evaluate with: python evaluate.py -m nfe=2,5,10,20 checkpoint={checkpoint}")


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in ("does not have many workers", "dataloader is not resumable", "LeafSpec"):
        warnings.filterwarnings("ignore", message=f".*{noise}.*")
    with one_line_errors(HydraException, OSError):
        main()
