"""An evaluator from a configuration: what bridge, what data, what protocol."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, ValidationError

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.evaluator import Evaluator
from dbim_lightning.evaluation.processes import rank_and_world_size
from dbim_lightning.weights import build_denoiser, load_weights, read_bridge

LIBRARIES = ("dbim-lightning", "torch", "torchvision", "torchmetrics", "clean-fid")


@dataclass
class Values:
    """Types of the plain values in evaluate.yaml."""

    nfe: int
    seed: int
    batch_size: int
    num_images: int | None
    keep_samples: bool | None
    checkpoint: str | None
    weights: str | None
    samples: str | None
    save_images: str | None
    device: str | None
    runs: str
    folder: str


def typed(cfg: DictConfig, types: type = Values) -> DictConfig:
    """The configuration with the fields of a dataclass converted to their types.

    Raises:
        UserError: a value that cannot be converted.
    """
    names = [field.name for field in fields(types)]
    try:
        values = OmegaConf.merge(OmegaConf.structured(types), OmegaConf.masked_copy(cfg, names))
    except ValidationError as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return OmegaConf.merge(cfg, OmegaConf.to_container(values))


@lru_cache(maxsize=4)  # a sweep over many checkpoints shall not hold all of them
def assemble(checkpoint: Path | None, options: str, make: Callable[..., Any]) -> Evaluator:
    """Reads the bridge of a checkpoint or weights file, and makes the rest as configured.

    The jobs of a sweep that share these arguments share the evaluator.

    Args:
        checkpoint: None where samples are given.
        options: YAML of evaluate.yaml's metrics, dataset, num_images, batch_size, device, folder.
        make: configuration -> object.

    Raises:
        UserError: no data, missing weights of metrics, a checkpoint that does not fit.
    """
    rank_and_world_size()  # before anything is put on an accelerator
    cfg = OmegaConf.create(options)
    protocol = make(cfg.metrics)
    device = _device(cfg.device)
    denoiser, data = None, cfg.get("dataset")
    origin: dict[str, Any] = {"versions": {name: version(name) for name in LIBRARIES}}
    origin["versions"]["python"] = platform.python_version()
    if checkpoint is not None:
        saved = read_bridge(checkpoint)
        denoiser = build_denoiser(saved.config)
        load_weights(denoiser, saved)
        denoiser.eval().to(device)
        data = data or OmegaConf.create(saved.config).get("dataset")
        origin["checkpoint_sha256"] = _sha256(checkpoint)
    if data is None:
        raise UserError(
            f"{checkpoint or 'samples=DIR'} does not say which data to take: give dataset=NAME"
        )
    origin["dataset"] = OmegaConf.to_container(data, resolve=True)
    dataset, folder = make(data), Path(cfg.folder)
    return Evaluator(
        denoiser, dataset, protocol, device, cfg.num_images, cfg.batch_size, folder, origin
    )


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or torch.accelerator.current_accelerator(True) or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name} cannot be used ({reason}): cuda, mps or cpu") from error
    return device


def own_settings(sampler: DictConfig) -> DictConfig:
    """Those that the sampler has; a sweep over several may name those of one."""
    known = signature(locate(sampler._target_)).parameters
    return OmegaConf.masked_copy(sampler, ["_target_", *known])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
