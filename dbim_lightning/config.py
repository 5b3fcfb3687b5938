"""The one room with Hydra: composing configurations, checking them, making what they name."""

import difflib
import inspect
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any, get_type_hints

import hydra
import hydra.utils
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

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


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration conf/NAME.yaml with group=choice and key=value words on top.

    Raises:
        UserError: a group, choice or key that does not exist.
    """
    with one_line_hydra_errors(name, overrides):
        return _composed(name, overrides)


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
    parser.add_argument("dataset", help="dataset=NAME, then dataset.key=value as for train.py")
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
        raise ConfigurationError(_one_line(cause or error)) from error


def make_sampler(node: DictConfig, nfe: int) -> Any:
    """The sampler of evaluate.yaml. Of the settings that this file has for every sampler, for the
    sake of sweeps, it takes those that it has itself and that are set."""
    known = inspect.signature(_located(node)).parameters
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


def _type_hints(node: dict[str, Any]) -> dict[str, Any]:
    found = _located(node)
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


def check_overrides(name: str, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuses words of the command line that Hydra lets pass.

    Args:
        name: of the configuration in conf.
        cfg: composed with all words, or resumed.
        overrides: all words.

    Raises:
        UserError: +key=value for a key that neither the configuration nor its classes have, or
            the choice of a group as if it were a key.
    """
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        group = key.replace(".", "/")
        if group != key and (CONF / group).is_dir() and not value.startswith("{"):
            raise UserError(f"{word}: conf/{group} has the choices, write {group}={value}")
        is_known = "_target_" in value or _is_group(key) or _of_earlier_run(key, name, overrides)
        if not word.startswith("+") or is_known:
            continue
        known = known_keys(name, overrides)
        nodes = {each.partition(".")[0] for each in known}
        is_taken = key.partition(".")[0] in nodes and takes(cfg, key)
        if key not in known and not is_taken:
            raise UserError(unknown_key(key, known))


def takes(cfg: DictConfig, key: str) -> bool:
    """Whether the node that holds a key is of a class that takes it, or holds what one likes."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else None
    if not OmegaConf.is_dict(node):
        return False
    if "_target_" not in node:
        return set(node) <= {last}
    parameters = inspect.signature(_located(node)).parameters.values()
    names = {parameter.name for parameter in parameters}
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    of_hydra = ("_target_", "_convert_", "_recursive_", "_partial_")
    return last in names or is_open or last in of_hydra


def _of_earlier_run(key: str, name: str, words: Sequence[str]) -> bool:
    """Whether a key may be one of a data set that the command line does not name."""
    is_resumed = name == "evaluate" or any(word.startswith("resume=") for word in words)
    is_named = any(word.lstrip("+").startswith("dataset=") for word in words)
    return key.startswith("dataset.") and is_resumed and not is_named


def known_keys(name: str, overrides: Sequence[str]) -> set[str]:
    """Every key that a configuration has or that the classes which it names would take."""
    groups = [word.partition(",")[0] for word in overrides if _is_group(word.partition("=")[0])]
    try:
        cfg = _composed(name, groups)
    except HydraException:  # a choice that is a sweep of its own kind
        cfg = _composed(name, [])
    return keys_in(OmegaConf.to_container(cfg))


def keys_in(node: dict[str, Any], prefix: str = "") -> set[str]:
    """The keys in a node, and those that its classes would take."""
    known = {f"{prefix}{key}" for key in node}
    if "_target_" in node:
        known |= {f"{prefix}{key}" for key in inspect.signature(_located(node)).parameters}
    for key, value in node.items():
        if isinstance(value, dict):
            known |= keys_in(value, f"{prefix}{key}.")
    return known


@contextmanager
def one_line_hydra_errors(name: str, overrides: Sequence[str] | None = None) -> Iterator[None]:
    """Turns Hydra's errors into a `UserError`; of an unknown key it names the nearest known ones.

    Args:
        name: of the configuration in conf.
        overrides: of it; None takes those of the command line.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        words = sys.argv[1:] if overrides is None else overrides
        unknown = re.match(r"Could not override '([^']+)'", str(error))
        if unknown and not unknown[1].startswith("hydra."):
            known = known_keys(name, [word for word in words if "=" in word])
            if unknown[1] in known or _of_earlier_run(unknown[1], name, words):
                raise UserError(f"{unknown[1]} is not set yet: write +{unknown[1]}=…") from error
            raise UserError(unknown_key(unknown[1], known)) from error
        where = "".join(f"{word}: " for word in words if "${" in word)
        raise UserError(where + _one_line(error)) from error
    except ValueError as error:  # of a group that is given null or a number
        if "Config group" not in str(error):
            raise
        words = sys.argv[1:] if overrides is None else overrides
        groups = " ".join(word for word in words if _is_group(word.partition("=")[0]))
        raise UserError(f"{groups}: give names of choices, --help has them") from error


def _composed(name: str, overrides: Sequence[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():  # in a job of hydra.main
        return hydra.compose(name, list(overrides))
    if (folder := _own_folder()) is not None:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder}: there is no such folder")
        overrides = [f"hydra.searchpath=[file://{folder.absolute()}]", *overrides]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, list(overrides))


def _own_folder() -> Path | None:
    """With choices beside those in conf, as --config-dir names it on the command line."""
    flags = ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config-dir", "-cd", type=Path)
    return flags.parse_known_args()[0].config_dir


def _is_group(key: str) -> bool:
    folders = [CONF, _own_folder() or CONF]
    return "@" in key or any((folder / key.lstrip("+")).is_dir() for folder in folders)


def _located(node: DictConfig | dict) -> Any:
    try:
        found = locate(str(node["_target_"]))
    except ErrorDuringImport as error:
        raise UserError(f"{node['_target_']} cannot be imported: {error.value}") from error
    if found is None:
        raise UserError(f"{node['_target_']} cannot be imported: install or correct it")
    return found


def unknown_key(key: str, known: set[str]) -> str:
    """The nearest are alike as a whole, or have the same last part, or are alike in some way."""
    last = key.rpartition(".")[2]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.7)
    near += sorted(other for other in known if other.rpartition(".")[2] == last)
    near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.4)
    hint = f"the nearest are {', '.join(list(dict.fromkeys(near))[:4])}" if near else "see --help"
    return f"there is no key {key}: {hint}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).partition("object_type=")[0].split())
