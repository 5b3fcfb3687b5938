"""Configurations of earlier runs: gone on with, evaluated elsewhere, compared."""

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dbim_lightning.composing import is_group, keys_in, takes, unknown_key
from dbim_lightning.config import checked, resolved
from dbim_lightning.errors import UserError
from dbim_lightning.resolvers import CONF
from dbim_lightning.strangers import inert

OF_THE_COMMAND = ("resume", "weights", "trusted")  # which no file says


def resumed(saved: dict[str, Any], cfg: DictConfig, words: Sequence[str]) -> DictConfig:
    """The configuration of an earlier run, with the words of the command line in force.

    What train.yaml interpolates is interpolated again, so that it follows a word for what it stands
    for, unless the earlier run had set it apart and no word is for it.

    Args:
        saved: the earlier configuration.
        cfg: composed with the words, which has what `saved` may lack.
        words: of the command line.

    Raises:
        UserError: a word for a group, for what weights, order and state of the optimiser depend on,
            or for a key that the earlier run does not have; unless the earlier run had the same.
    """
    own = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"))
    today = OmegaConf.to_container(cfg)
    del own["defaults"], own["hydra"]
    nodes = [key for key, node in own.items() if isinstance(node, dict)]
    if odd := [key for key in nodes if not isinstance(saved.get(key, {}), dict)]:
        raise UserError(f"{cfg.resume}: its {odd[0]} is no node of a configuration: use another")
    parts = {key: {**today[key], **saved.get(key, {})} for key in nodes}
    parts |= {key: today[key] for key in OF_THE_COMMAND}
    again = OmegaConf.create({**today, **saved, **parts})
    fixed = ("denoiser", *saved["denoiser"], "statistics", "seed", "data.seed", "weights")
    command = saved.get("command")
    keys, before = [], command if isinstance(command, list) else []
    for word in words:
        key = word.lstrip("+").partition("=")[0]
        is_whole = is_group(key) or OmegaConf.is_dict(_select(again, key))
        if is_whole or "~" in key or key.endswith("_target_") or _is_in(key, fixed):
            if word in before:
                continue
            raise UserError(
                f"{word} cannot change in a resumed run: leave it out, or start a new run"
            )
        parent, _, last = key.rpartition(".")
        if last not in (_select(again, parent) or {}) and not takes(again, key):
            raise UserError(unknown_key(key, keys_in(OmegaConf.to_container(again))))
        keys.append(key)
    for key, source in _links(own):
        same = _select(again, key) == _select(again, source)
        if same or any(_is_in(word, [source]) for word in keys):
            OmegaConf.update(again, key, f"${{{source}}}", merge=False)
    for key in keys:
        OmegaConf.update(again, key, _select(cfg, key), merge=False, force_add=True)
    return again


def _links(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Pairs such as ("data.batch_size", "training.batch_size"): keys, and what they stand for."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _links(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value.startswith("${"):
            yield f"{prefix}{key}", value[2:-1]


def _select(cfg: DictConfig, key: str) -> Any:
    """The value of a key, or None; the whole for none."""
    return OmegaConf.select(cfg, key) if key else cfg


def _is_in(key: str, nodes: Sequence[str]) -> bool:
    """Whether a key is one of the nodes or within one."""
    return any(f"{key}.".startswith(f"{node}.") for node in nodes)


def inherited(own: DictConfig | None, theirs: dict[str, Any] | None) -> dict[str, Any] | None:
    """The data set to evaluate on: that of the training with what `own` sets, unless that is whole.

    Args:
        own: `dataset` of evaluate.yaml.
        theirs: that of the training, if it is known.

    Returns:
        None if there is no data set at all.

    Raises:
        UserError: a setting that the class of the training's data set does not take.
    """
    if own is None or "_target_" not in own:
        if theirs is None:
            return None
        own = {key: value for key, value in (own or {}).items() if value is not None}
        known = keys_in(theirs, "dataset.")
        for key in own:
            if f"dataset.{key}" not in known:
                raise UserError(unknown_key(f"dataset.{key}", known))
        own = {**theirs, **own}
    return resolved(checked(OmegaConf.create({"dataset": own}), {}))["dataset"]


def differences(here: dict[str, Any], training: dict[str, Any]) -> str:
    """In words, where data and their statistics are not those of the training, beside their place.

    Args:
        here: `dataset`, as it turned out to be, and `statistics`, or None.
        training: the same of a bridge; what is None is not known. Packed pairs are compared by what
            they were made with.
    """
    found = []
    for part, known in training.items():
        theirs, ours = _unpacked(known) or {}, _unpacked(here[part])
        for key in theirs:
            same = ours is None or key not in ours or ours[key] == theirs[key]
            if not same and key not in ("root", "check", "prepared_by"):
                found.append(f"{part}.{key} {ours[key]} (training: {theirs[key]})")
    return ", ".join(found)


def _unpacked(options: dict[str, Any] | None) -> dict[str, Any] | None:
    return options and inert(options.get("made_with") or options)
