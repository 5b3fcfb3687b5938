"""Samplers that stand in files of their own, as tuning writes them: sampler=FILE.yaml."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dbim_lightning.errors import UserError
from dbim_lightning.resolvers import CONF


def read_tuned(path: Path) -> dict[str, Any]:
    """A file of tuning.

    Raises:
        UserError: no such file, or not one of those.
    """
    try:
        node = OmegaConf.to_container(OmegaConf.load(path), resolve=True, throw_on_missing=True)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    tuned = node.get("tuned") if isinstance(node, dict) else None
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
    if tuned and tuned.get("schedule") != schedule:
        raise UserError(
            f"this sampler was tuned for the schedule {tuned.get('schedule')}, the bridge has "
            f"{dict(schedule)}: tune one for it, or use sampler=dbim_fast"
        )


def take_sampler_files(words: Sequence[str]) -> list[str]:
    """Lets sampler=FILE.yaml choose a file as if it stood in conf/sampler.

    Raises:
        UserError: no such file, or a name that another choice has.
    """
    folder, taken = None, []
    for word in words:
        key, _, values = word.partition("=")
        choices = values.split(",") if key == "sampler" else []
        for place, choice in enumerate(choices):
            file = Path(choice.strip("'\""))
            if file.suffix != ".yaml":
                continue
            if not file.is_file():
                raise UserError(f"sampler={file}: there is no such file")
            folder = folder or Path(tempfile.mkdtemp(prefix="dbim_lightning_"))
            name = re.sub(r"\W", "_", file.stem, flags=re.ASCII)
            copy = folder / "sampler" / f"{name}.yaml"
            if copy.exists() or (CONF / "sampler" / copy.name).exists():
                raise UserError(f"sampler={file}: another choice is called {name}, rename the file")
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
            choices[place] = name
        if folder is not None and choices:  # beside it, as Hydra wants its words in one row
            taken += [f"hydra.searchpath=[file://{folder}]", f"sampler={','.join(choices)}"]
        else:
            taken.append(word)
    if folder is not None:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return taken
