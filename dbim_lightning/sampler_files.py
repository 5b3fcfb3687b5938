"""Samplers that stand in files of their own, as tuning writes them: sampler=FILE.yaml."""

import atexit
import io
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent, YAMLError

from dbim_lightning.errors import UserError
from dbim_lightning.resolvers import CONF
from dbim_lightning.strangers import DEEPEST, inert, require_harmless


def read_sampler_file(path: Path, trusted: Collection[str] = ()) -> dict[str, Any]:
    """What stands in a sampler file, which may be another person's: plain, with nothing composed.

    Args:
        trusted: what it may name beside this project's classes, as `require_harmless` takes it.

    Raises:
        UserError: no such file, not one sampler in YAML, or one that composes, interpolates, or
            names what no file may name.
    """
    if not path.is_file():
        raise UserError(f"sampler={path}: there is no such file")
    try:
        text = path.read_text(encoding="utf-8")
        _require_simple(text)
        node = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except (
        OSError,
        UnicodeDecodeError,
        YAMLError,
        OmegaConfBaseException,
        RecursionError,
    ) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{path} is no sampler: it must name its class by _target_")
    if "defaults" in node:
        raise UserError(f"{path} composes other files by defaults: write out what they hold")
    if "tuned" in node:
        node["tuned"] = inert(node["tuned"])
    require_harmless(node, path, trusted)
    return node


def _require_simple(text: str) -> None:
    """Refuses YAML that stands for more than it holds, or that takes long to read."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, AliasEvent):
            raise YAMLError("it has aliases (*name): write out what they stand for")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise YAMLError(f"it has more than {DEEPEST} levels: use another file")


def read_tuned(path: Path) -> dict[str, Any]:
    """A file of tuning.

    Raises:
        UserError: no such file, or not one of those.
    """
    node = read_sampler_file(path)
    tuned = node.get("tuned")
    nfe = tuned.get("nfe") if isinstance(tuned, dict) else None
    if not (type(nfe) is int and nfe > 0 and "schedule" in tuned):
        raise UserError(
            f"{path} does not say what it was tuned for: give a file of python -m "
            "dbim_lightning.evaluation.tune"
        )
    return node


def require_tuned_for(sampler: Mapping[str, Any], schedule: Mapping[str, Any]) -> None:
    """Refuses the sampler of a file that was tuned for another schedule.

    Raises:
        UserError: as said.
    """
    tuned = sampler.get("tuned")
    if tuned and not isinstance(tuned, dict):
        raise UserError(f"sampler.tuned={tuned} does not say for what: leave it out")
    if tuned and inert(tuned.get("schedule")) != inert(dict(schedule)):
        raise UserError(
            f"this sampler was tuned for the schedule {tuned.get('schedule')}, the bridge has "
            f"{dict(schedule)}: tune one for it, or use sampler=dbim_fast"
        )


def take_sampler_files(words: Sequence[str]) -> list[str]:
    """Lets sampler=FILE.yaml choose a file as if it stood in conf/sampler.

    Raises:
        UserError: no such file, a name that another choice has, or a file that names what no file
            may name.
    """
    folder, taken = None, []
    modules = [word.partition("=")[2].strip("[]") for word in words if word.startswith("trusted=")]
    trusted = [name.strip("'\" ") for names in modules for name in names.split(",")]
    for word in words:
        key, _, values = word.partition("=")
        choices = values.split(",") if key == "sampler" else []
        for place, choice in enumerate(choices):
            file = Path(choice.strip("'\""))
            if file.suffix != ".yaml":
                continue
            node = read_sampler_file(file, trusted)
            folder = folder or Path(tempfile.mkdtemp(prefix="dbim_lightning_"))
            name = re.sub(r"\W", "_", file.stem, flags=re.ASCII)
            copy = folder / "sampler" / f"{name}.yaml"
            if copy.exists() or (CONF / "sampler" / copy.name).exists():
                raise UserError(f"sampler={file}: another choice is called {name}, rename the file")
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(OmegaConf.to_yaml(OmegaConf.create(node)), encoding="utf-8")
            choices[place] = name
        if folder is not None and choices:  # beside it, as Hydra wants its words in one row
            taken += [f"hydra.searchpath=[file://{folder}]", f"sampler={','.join(choices)}"]
        else:
            taken.append(word)
    if folder is not None:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return taken
