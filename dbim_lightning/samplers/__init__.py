"""Samplers: x_T and noise in, x_0 out, with torch alone."""

from dbim_lightning.samplers.dbim import DBIM
from dbim_lightning.samplers.ddbm import DDBM
from dbim_lightning.samplers.grids import Grid, Listed, Power, Uniform, UniformLambda
from dbim_lightning.samplers.noise import ImageNoise
from dbim_lightning.samplers.sampler import Denoise, Noise, OnStep, Sampler

__all__ = [
    "DBIM",
    "DDBM",
    "Denoise",
    "Grid",
    "ImageNoise",
    "Listed",
    "Noise",
    "OnStep",
    "Power",
    "Sampler",
    "Uniform",
    "UniformLambda",
]
