"""What train.yaml and evaluate.yaml interpolate: texts of --help, and names of folders."""

import re
import textwrap
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dbim_lightning.commands import FROM_WHEEL, program
from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json

CONF = Path(__file__).parents[0 if FROM_WHEEL else 1] / "conf"


def _groups(name: str) -> str:
    """The groups that conf/NAME.yaml composes, and those that their choices do, for --help."""
    groups = _groups_in(CONF / f"{name}.yaml")
    for group in groups:  # which grows on the way
        for path in sorted((CONF / group).glob("*.yaml")):
            for key in _groups_in(path):
                inner = key[1:] if key.startswith("/") else f"{group}/{key}"
                groups += [inner] if inner not in groups else []
    lines = []
    for group in groups:
        choices = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        lines.append(f"  {group}: {', '.join(choices)}")
    return "\n".join(lines)


def _groups_in(path: Path) -> list[str]:
    defaults = OmegaConf.to_container(OmegaConf.load(path)).get("defaults", [])
    keys = [next(iter(part)).partition("@")[0] for part in defaults if isinstance(part, dict)]
    return [key for key in keys if not key.startswith("override ")]


def _annotated(name: str) -> str:
    """The keys of conf/NAME.yaml with their comments, for --help."""
    text = (CONF / f"{name}.yaml").read_text()
    _, _, keys = text[: text.index("\nhydra:")].partition("\n\n")
    return textwrap.indent(keys.strip(), "  ").replace("$", "$$")


def _is_finished(run: Path) -> bool:
    """Whether a run was finished, and not gone on with since."""
    steps = [path.stem.removeprefix("step_") for path in run.glob("checkpoints/step_*.ckpt")]
    try:
        finished = read_json(run / "training.json", "it is not finished").get("step")
    except UserError:
        return False
    return type(finished) is int and finished >= max(
        (int(step) for step in steps if step.isdecimal()), default=0
    )


def _run_folder(resume: Any, new: str) -> str:
    """Where a training is written: a resumed one into its own folder, with resume=auto into that
    of the newest run beside it which is not finished."""
    if resume == "auto":
        begun = Path(new).parent.glob("*/checkpoints/last.ckpt")
        runs = [path for path in begun if not _is_finished(path.parents[1])]
        newest = max(runs, key=lambda path: path.stat().st_mtime_ns, default=None)
        return str(newest.parents[1]) if newest else new
    own = Path(str(resume or "")).absolute()
    if (own / "checkpoints").is_dir():
        return str(own)
    return str(own.parents[1]) if own.is_file() and own.parent.name == "checkpoints" else new


def _folder_name(text: str) -> str:
    """Overrides as the name of one folder, which every file system takes: at most 100 bytes."""
    short = text.encode(errors="replace")[:100].decode(errors="ignore")
    return re.sub(r"[^\w.,=+-]", "_", short)


OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
OmegaConf.register_new_resolver("program", program, replace=True)
OmegaConf.register_new_resolver("groups", _groups, replace=True)
OmegaConf.register_new_resolver("annotated", _annotated, replace=True)
OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)
