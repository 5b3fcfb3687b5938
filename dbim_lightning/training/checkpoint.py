"""Reading self-describing checkpoints: weights, and the configuration that rebuilds the bridge."""

import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.errors import UserError
from dbim_lightning.training.module import CONFIG_KEY

PREFIX = "denoiser."
BRIDGE = ("network", "schedule", "preconditioning", "statistics")


class SavedBridge(NamedTuple):
    """What a checkpoint says: its configuration, EMA weights of the denoiser, and training step."""

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    step: int


def read_checkpoint(path: Path) -> SavedBridge:
    """Reads a training checkpoint on the CPU; unpickles nothing but tensors and plain containers.

    Raises:
        UserError: no such file, not a checkpoint, or one of another program.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: give the path of a .ckpt file of train.py")
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not whole, or not a file of torch.save")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is not a readable checkpoint ({reason}): give a .ckpt file of train.py"
        ) from error
    if not isinstance(checkpoint, dict) or CONFIG_KEY not in checkpoint:
        raise UserError(
            f"{path} was not written by train.py: it does not say how to rebuild the network"
        )
    weights = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    return SavedBridge(path, checkpoint[CONFIG_KEY], weights, checkpoint["global_step"])


def resumed_config(path: Path, overrides: list[str]) -> DictConfig:
    """The configuration of a checkpoint, with key=value overrides of the command line on top.

    Raises:
        UserError: an override of a group or of the bridge, no steps left to train, or a checkpoint
            that cannot be read.
    """
    _, config, _, step = read_checkpoint(path)
    saved = OmegaConf.create(config)
    overrides = [override.lstrip("+") for override in overrides]
    for override in overrides:
        key = override.partition("=")[0]
        is_group = OmegaConf.is_dict(OmegaConf.select(saved, key))
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


def load_weights(denoiser: BridgeDenoiser, saved: SavedBridge) -> None:
    """Puts the saved EMA weights into the denoiser.

    Raises:
        UserError: the weights are of another network; names the first keys that differ.
    """
    ours = {key: tuple(value.shape) for key, value in denoiser.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in saved.weights.items()}
    different = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    if different:
        shown = ", ".join(f"{k} ({theirs.get(k)}, not {ours.get(k)})" for k in different[:5])
        raise UserError(
            f"{saved.path} holds another network; {len(different)} weights differ, first {shown}: "
            "use the network that it was trained with"
        )
    denoiser.load_state_dict(saved.weights)
