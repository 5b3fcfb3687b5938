"""The data set that `dataset=NAME dataset.key=value` describes, for commands beside train.py."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Dataset

from dbim_lightning.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


def parse(parser: ArgumentParser) -> tuple[Namespace, DictConfig]:
    """The options of a command, and the training configuration that its other words describe."""
    parser.add_argument("dataset", help="dataset=NAME, then dataset.key=value as for train.py")
    options, rest = parser.parse_known_args()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", [options.dataset, *rest])
    except HydraException as error:
        raise UserError(str(error)) from error
    require_complete(cfg)
    return options, cfg


def require_complete(cfg: DictConfig) -> None:
    """Refuses a configuration with values that somebody has to give."""
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError("give " + " ".join(f"{key}=..." for key in missing))


def make_split(cfg: DictConfig, split: str) -> Dataset:
    return instantiate(cfg.dataset, _convert_="all")(split)
