"""Going on from checkpoints, and beginning with their weights."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import UserError
from dbim_lightning.weights import load_weights, read_denoiser


def load_initial(denoiser: BridgeDenoiser, path: Path, schedule: dict[str, Any]) -> None:
    """Puts the weights of a file into a denoiser that is to be trained on a schedule.

    Raises:
        UserError: the file cannot be read, or is of another network or schedule.
    """
    saved = read_denoiser(path)
    if (theirs := saved.config["denoiser"]["schedule"]) != schedule:
        raise UserError(
            f"{path} was trained with the schedule {theirs}, not {schedule}: "
            "choose that one, or leave weights out"
        )
    load_weights(denoiser, saved)


def resumed_config(path: Path, defaults: DictConfig, overrides: list[str]) -> DictConfig:
    """The configuration of a checkpoint, with key=value overrides of the command line on top.

    Args:
        defaults: what the checkpoint's configuration may lack, if it is of an earlier version.

    Raises:
        UserError: an override of a group or of the denoiser, no steps left to train, or a
            checkpoint that cannot be read.
    """
    checkpoint = read_denoiser(path)
    saved = OmegaConf.create({**OmegaConf.to_container(defaults), **checkpoint.config})
    fixed = {"denoiser", *checkpoint.config["denoiser"], "statistics"}
    overrides = [override.lstrip("+") for override in overrides]
    for override in overrides:
        key = override.partition("=")[0]
        is_group = "@" in key or "/" in key or OmegaConf.is_dict(OmegaConf.select(saved, key))
        if is_group or key.partition(".")[0] in fixed:
            raise UserError(
                f"{override} cannot change in a resumed run: leave it out, or start a new run"
            )
    resumed = OmegaConf.merge(saved, OmegaConf.from_dotlist(overrides))
    if checkpoint.step >= resumed.trainer.max_steps:
        raise UserError(
            f"{path} stands at step {checkpoint.step} of {resumed.trainer.max_steps}: "
            "give a larger trainer.max_steps to train on"
        )
    return resumed
