"""Weights files of small bridges with random weights."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from dbim_lightning.composing import compose
from dbim_lightning.weights import SavedDenoiser, build_denoiser, write_denoiser

SMALL = ["network.channel_mult=[1,1]", "network.attention_resolutions=[2]"]


def write_bridge(path: Path, *words: str, scale: float = 0.02, **more: Any) -> Path:
    """A bridge of 16 px, or as the words of train.py say.

    Args:
        scale: of the weights that a fresh network has at 0; NaN breaks the bridge.
        more: what its configuration has besides denoiser and dataset, or None for the latter.
    """
    cfg = compose("train", [*SMALL, "dataset.image_size=16", *words])
    config = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("denoiser", "dataset")
    }
    config |= more
    weights = build_denoiser(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    for key, value in weights.items():
        if key.endswith("weight"):
            noise = torch.randn(value.shape, generator=generator)
            weights[key] = 1 + scale * noise if value.ndim == 1 else 0.05 * noise + scale * noise
    write_denoiser(path, SavedDenoiser(path, config, weights, 0))
    return path
