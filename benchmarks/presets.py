"""The networks of conf/, as the benchmarks use them."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

NETWORKS = Path(__file__).parents[1] / "conf" / "network"


def preset(name: str) -> nn.Module:
    """A preset with small random weights where it begins with zeros."""
    network = instantiate(OmegaConf.load(NETWORKS / f"{name}.yaml"))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network
