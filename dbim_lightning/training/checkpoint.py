"""Finding checkpoints, and going on from them."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import UserError
from dbim_lightning.weights import load_weights, read_bridge

BRIDGE = ("network", "schedule", "preconditioning", "statistics")


def load_initial(denoiser: BridgeDenoiser, path: Path, schedule: dict[str, Any]) -> None:
    """Puts the weights of a file into a denoiser that is to be trained on a schedule.

    Raises:
        UserError: the file cannot be read, or is of another network or schedule.
    """
    saved = read_bridge(path)
    if saved.config["schedule"] != schedule:
        raise UserError(
            f"{path} was trained with the schedule {saved.config['schedule']}, not {schedule}: "
            "choose that one, or leave weights out"
        )
    load_weights(denoiser, saved)


def resumed_config(path: Path, overrides: list[str]) -> DictConfig:
    """The configuration of a checkpoint, with key=value overrides of the command line on top.

    Raises:
        UserError: an override of a group or of the bridge, no steps left to train, or a checkpoint
            that cannot be read.
    """
    checkpoint = read_bridge(path)
    saved, step = OmegaConf.create(checkpoint.config), checkpoint.step
    overrides = [override.lstrip("+") for override in overrides]
    for override in overrides:
        key = override.partition("=")[0]
        is_group = "@" in key or OmegaConf.is_dict(OmegaConf.select(saved, key))
        if is_group or key.partition(".")[0] in BRIDGE:
            raise UserError(
                f"{override} cannot change in a resumed run: leave it out, or start a new run"
            )
    resumed = OmegaConf.merge(saved, OmegaConf.from_dotlist(overrides))
    if step >= resumed.trainer.max_steps:
        raise UserError(
            f"{path} stands at step {step} of {resumed.trainer.max_steps}: "
            "give a larger trainer.max_steps to train on"
        )
    return resumed


def newest_checkpoint(runs: Path) -> Path:
    """The last checkpoint of the run under `runs` that finished last.

    Raises:
        UserError: no run has finished.
    """
    finished = sorted(runs.glob("**/training.json"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise UserError(
            f"no finished run under {runs}: train one with python train.py, or give checkpoint=PATH"
        )
    return finished[-1].parent / "checkpoints" / "last.ckpt"
