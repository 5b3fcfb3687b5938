"""Composing configurations of the words of a command line, and refusing words that do not fit."""

import difflib
import inspect
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dbim_lightning.errors import UserError
from dbim_lightning.resolvers import CONF


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration conf/NAME.yaml with group=choice and key=value words on top.

    Raises:
        UserError: a group, choice or key that does not exist.
    """
    with one_line_hydra_errors(name, overrides):
        return _composed(name, overrides)


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
        is_known = "_target_" in value or is_group(key) or _of_earlier_run(key, name, overrides)
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
    parameters = inspect.signature(located(node)).parameters.values()
    names = {parameter.name for parameter in parameters}
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    of_hydra = ("_target_", "_convert_", "_recursive_", "_partial_")
    return last in names or is_open or last in of_hydra


def _of_earlier_run(key: str, name: str, words: Sequence[str]) -> bool:
    """Whether a key may be one of a data set that the command line does not name."""
    is_resumed = name == "evaluate" or any(word.startswith("resume=") for word in words)
    is_named = any(re.match(r"\+?(dataset|experiment)=", word) for word in words)
    return key.startswith("dataset.") and is_resumed and not is_named


def known_keys(name: str, overrides: Sequence[str]) -> set[str]:
    """Every key that a configuration has or that the classes which it names would take."""
    groups = [word.partition(",")[0] for word in overrides if is_group(word.partition("=")[0])]
    try:
        cfg = _composed(name, groups)
    except HydraException:  # a choice that is a sweep of its own kind
        cfg = _composed(name, [])
    return keys_in(OmegaConf.to_container(cfg))


def keys_in(node: dict[str, Any], prefix: str = "") -> set[str]:
    """The keys in a node, and those that its classes would take."""
    known = {f"{prefix}{key}" for key in node}
    if "_target_" in node:
        known |= {f"{prefix}{key}" for key in inspect.signature(located(node)).parameters}
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
        raise UserError(where + one_line(error)) from error
    except ValueError as error:  # of a group that is given null or a number
        if "Config group" not in str(error):
            raise
        words = sys.argv[1:] if overrides is None else overrides
        groups = " ".join(word for word in words if is_group(word.partition("=")[0]))
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


def is_group(key: str) -> bool:
    """Whether the word KEY=… chooses from a group, in conf or in a folder of one's own."""
    folders = [CONF, _own_folder() or CONF]
    return "@" in key or any((folder / key.lstrip("+")).is_dir() for folder in folders)


def located(node: DictConfig | dict) -> Any:
    """What a node names by `_target_`, imported."""
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


def one_line(error: BaseException) -> str:
    """The text of an error, without its line breaks and what Hydra puts after it."""
    return " ".join(str(error).partition("object_type=")[0].split())
