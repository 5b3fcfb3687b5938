"""Weights with the configuration that rebuilds their denoiser: reading, writing, importing."""

from dbim_lightning.weights.build import build_denoiser, recommended_sampler, restored
from dbim_lightning.weights.files import (
    CONFIG_KEY,
    SavedDenoiser,
    load_weights,
    newest_checkpoint,
    read_denoiser,
    read_samplers,
    write_denoiser,
)
from dbim_lightning.weights.sources import local_file
