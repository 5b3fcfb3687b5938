"""Where a result comes from: device, files and versions."""

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from dbim_lightning import config, earlier
from dbim_lightning.bridge import BridgeDenoiser, precision_on
from dbim_lightning.errors import UserError
from dbim_lightning.networks import require_image_size
from dbim_lightning.weights import local_file, newest_checkpoint, read_denoiser, restored

LIBRARIES = ("dbim-lightning", "torch", "torchvision", "torchmetrics", "clean-fid")


class Bridge(NamedTuple):
    """A trained bridge, the configuration that it was trained with, and its file."""

    denoiser: BridgeDenoiser
    config: dict[str, Any]
    path: Path
    sha256: str

    @property
    def schedule(self) -> dict[str, Any]:
        """Its configuration."""
        return self.config["denoiser"]["schedule"]


@lru_cache(maxsize=4)  # a sweep over many checkpoints shall not hold all of them
def read_bridge(path: Path, device: torch.device, trusted: frozenset[str]) -> Bridge:
    """Reads a checkpoint or weights file."""
    saved = read_denoiser(path, trusted=trusted)
    return Bridge(restored(saved).to(device), saved.config, path, short_sha256(path))


def named_bridge(cfg: DictConfig, device: torch.device) -> Bridge:
    """The bridge that evaluate.yaml's `weights`, `checkpoint` or `runs` names, in its precision."""
    if cfg.weights and cfg.checkpoint:
        raise UserError(f"weights={cfg.weights}, checkpoint={cfg.checkpoint}: give one of the two")
    path = local_file(cfg.weights or cfg.checkpoint or newest_checkpoint(Path(cfg.runs)))
    print(f"Evaluating {path}")
    bridge = read_bridge(path, device, config.trusted(cfg))
    bridge.denoiser.precision = precision_on(device, cfg.precision)
    return bridge


def named_data(cfg: DictConfig, bridge: Bridge | None) -> dict[str, Any]:
    """The configuration of the data that evaluate.yaml's `dataset` names, or else the training's.

    Raises:
        UserError: neither names any, or the network does not take images of their size.
    """
    dataset = earlier.inherited(cfg.dataset, bridge.config.get("dataset") if bridge else None)
    if dataset is None:
        what = bridge.path if bridge else cfg.samples
        raise UserError(f"{what} does not say which data to take: give dataset=NAME")
    if bridge:
        require_image_size(bridge.denoiser.network, dataset)
    return dataset


def device_name(device: torch.device) -> str:
    """Such as "NVIDIA H100" or "cpu, 2 threads": what times depend on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{device.type}, {count} thread{'s' * (count > 1)}"


def versions() -> dict[str, str]:
    """Of the libraries that numbers depend on, and of Python."""
    return {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}


def short_sha256(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
