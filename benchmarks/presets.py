"""The networks of conf/, as the benchmarks use them."""

from omegaconf import OmegaConf
from torch import nn

from dbim_lightning.config import instantiate
from dbim_lightning.resolvers import CONF

NETWORKS = CONF / "network"


def preset(name: str) -> nn.Module:
    """A preset with small random weights where it begins with zeros."""
    network = instantiate(OmegaConf.load(NETWORKS / f"{name}.yaml"))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network
