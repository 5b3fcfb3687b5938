"""Checking the values of configurations, and making what they name."""

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import hydra.utils
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dbim_lightning.composing import check_overrides, compose, located, one_line
from dbim_lightning.errors import UserError
from dbim_lightning.leftovers import take_back_later
from dbim_lightning.options import TRAIN
from dbim_lightning.resolvers import CONF
from dbim_lightning.values import converted, shown


class LeavesNothing(Callback):
    """Takes back the folders that Hydra makes before a run is refused."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        take_back_later(Path(config.hydra.run.dir), f"{config.hydra.job.name}.log")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        take_back_later(Path(config.hydra.sweep.dir), f"{config.hydra.job.name}.log")


class ConfigurationError(UserError):
    """What a configuration names cannot be made, in any process that has the configuration."""


def configured(name: str, words: Sequence[str], values: Mapping[str, Any]) -> DictConfig:
    """The configuration conf/NAME.yaml with the words of a command, checked.

    Args:
        values: types and ranges, `TRAIN` or `EVALUATE`.

    Raises:
        UserError: a configuration that does not exist, lacks something or has a wrong value.
    """
    cfg = compose(name, words)
    check_overrides(name, cfg, words)
    return checked(cfg, values)


def parse_command(parser: ArgumentParser) -> tuple[Namespace, DictConfig]:
    """The options of a command, and the training configuration that its other words describe.

    Raises:
        UserError: a configuration that does not exist, lacks something or has a wrong value.
    """
    parser.add_argument("dataset", help="dataset=NAME, then dataset.key=value as for a training")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with more choices")
    options, rest = parser.parse_known_args()
    return options, configured("train", [options.dataset, *rest], TRAIN)


def instantiate(node: DictConfig, **options: Any) -> Any:
    """What a configuration names by `_target_`, with more options.

    Raises:
        ConfigurationError: from what is made, or since it cannot be made.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **options)
    except (HydraException, OmegaConfBaseException, TypeError) as error:  # of _partial_, say
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        raise ConfigurationError(one_line(cause or error)) from error


def make_sampler(node: DictConfig, nfe: int) -> Any:
    """The sampler of evaluate.yaml. Of the settings that this file has for every sampler, for the
    sake of sweeps, it takes those that it has itself and that are set."""
    known = inspect.signature(located(node)).parameters
    common = OmegaConf.load(CONF / "evaluate.yaml").sampler
    own = {
        key: value
        for key, value in OmegaConf.to_container(node, resolve=True).items()
        if key != "tuned" and (key not in common or (key in known and value is not None))
    }
    return instantiate(OmegaConf.create(own), nfe=nfe)


def trusted(cfg: DictConfig) -> frozenset[str]:
    """What files may name since the command line does: the modules of `trusted`, every target.

    Args:
        cfg: composed of the command line alone.
    """
    modules = OmegaConf.to_container(cfg.trusted) if OmegaConf.is_list(cfg.trusted) else cfg.trusted
    modules = converted("trusted", modules, list[str])
    return frozenset([*modules, *_targets(OmegaConf.to_container(cfg))])


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield node["_target_"]
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for item in inside:
        yield from _targets(item)


def checked(cfg: DictConfig, options: Mapping[str, Any]) -> DictConfig:
    """The configuration without interpolations, each plain value as its annotation says.

    Args:
        options: annotation by dotted key; beside them, values of what a `_target_` names are of
            the types in its signature.

    Raises:
        UserError: a value of another type or out of range, or one that somebody has to give.
    """
    values = resolved(cfg)
    require_complete(cfg)
    _check(values, "", options)
    return OmegaConf.create(values)


def _check(node: dict[str, Any], prefix: str, options: Mapping[str, Any]) -> None:
    """Converts the values of a node, and of the nodes in it."""
    hints = _type_hints(node) if "_target_" in node else {}
    if node.get("_partial_"):  # else seen only when it is called
        _require_taken(node, prefix)
    for name, value in node.items():
        key = f"{prefix}{name}"
        inner = [each for each in options if each.startswith(f"{key}.")]
        if inner and not isinstance(value, dict):
            holds = f"it holds {inner[0]} and the like"
            raise UserError(f"{key}={shown(value)}: {holds}, leave the word out")
        if isinstance(value, dict) and key not in options:
            _check(value, f"{key}.", options)
        if key in options or name in hints:
            node[name] = converted(key, value, options.get(key, hints.get(name)))


def _require_taken(node: dict[str, Any], prefix: str) -> None:
    """Refuses options that the class of a node does not take."""
    options = {key: value for key, value in node.items() if not str(key).startswith("_")}
    try:
        inspect.signature(located(node)).bind_partial(**options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{prefix.rstrip('.')}: {node['_target_']} {error}; ~{prefix}KEY leaves one out"
        ) from error


def _type_hints(node: dict[str, Any]) -> dict[str, Any]:
    found = located(node)
    try:
        return get_type_hints(found.__init__ if inspect.isclass(found) else found, None, None, True)
    except (AttributeError, NameError, TypeError):  # annotations that cannot be read
        return {}


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, with what interpolations stand for.

    Raises:
        UserError: an interpolation of what is not there.
    """
    try:
        return OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def require_nodes(cfg: DictConfig, keys: Sequence[str]) -> None:
    """Refuses a configuration where a value, or nothing, stands in the place of a node."""
    for key in keys:
        if not OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            raise UserError(f"{key} must name what is made, by _target_: leave the word out")


def require_complete(cfg: DictConfig) -> None:
    """Refuses a configuration with values that somebody has to give."""
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError("give " + " ".join(f"{key}=..." for key in missing))
