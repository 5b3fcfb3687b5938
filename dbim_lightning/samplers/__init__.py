"""Samplers: x_T and noise in, x_0 out, with torch alone."""

from dbim_lightning.samplers.dbim import DBIM, boot
from dbim_lightning.samplers.dbm_solver import DBMSolver
from dbim_lightning.samplers.ddbm import DDBM
from dbim_lightning.samplers.ecsi import ECSI
from dbim_lightning.samplers.grids import (
    Cosine,
    Grid,
    Karras,
    KarrasSigma,
    Listed,
    StartedGrid,
    Uniform,
    UniformLambda,
    falling_times,
)
from dbim_lightning.samplers.guidance import PriorGuidance
from dbim_lightning.samplers.latents import Code, decode, encode, interpolate
from dbim_lightning.samplers.noise import ImageNoise
from dbim_lightning.samplers.sampler import (
    Denoise,
    Noise,
    OnStep,
    Sampler,
    State,
    draw,
    identity,
    inputs,
)
