"""Samplers: x_T and noise in, x_0 out, with torch alone."""

from dbim_lightning.samplers.dbim import DBIM
from dbim_lightning.samplers.noise import ImageNoise
from dbim_lightning.samplers.sampler import Denoise, Noise, OnStep, Sampler

__all__ = ["DBIM", "Denoise", "ImageNoise", "Noise", "OnStep", "Sampler"]
