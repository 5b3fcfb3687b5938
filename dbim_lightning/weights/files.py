"""Self-describing files: weights, and the configuration that rebuilds their denoiser."""

import errno
import json
import pickle
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dbim_lightning import commands
from dbim_lightning.archives import UNREADABLE, require_no_bomb
from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.commands import program
from dbim_lightning.errors import UserError
from dbim_lightning.files import whole
from dbim_lightning.strangers import require_harmless, require_plain
from dbim_lightning.weights.upgrade import upgraded

CONFIG_KEY = "dbim_lightning_config"
PREFIX = "denoiser."
OF_THE_COMMAND = ("command", "resume", "weights", "trusted")  # which names folders of a machine


class SavedDenoiser(NamedTuple):
    """What a file says: its configuration, weights of the denoiser, and training step."""

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    step: int


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a file of torch.save, memory-mapped, or of safetensors, tensors and metadata.

    Nothing is unpickled but plain data.

    Raises:
        UserError: no such file, not whole, or more in it than tensors and plain containers.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: give the path of a checkpoint or weights file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with path.open("rb") as file:
        start = file.read(2)
    is_zip = zipfile.is_zipfile(path)
    try:
        if not is_zip and start != b"\x80\x02":
            raise zipfile.BadZipFile("not whole, or not a file of torch.save")
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                require_no_bomb(archive, path.stat().st_size)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a readable checkpoint: it holds more than tensors and plain containers "
            "and could run any code on loading: ask for the bare state dict"
        ) from error
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path} is not a readable checkpoint ({reason}): copy or download it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}: give a file with a state dict")
    return content


def read_denoiser(path: Path, raw: bool = False, trusted: Collection[str] = ()) -> SavedDenoiser:
    """Reads a training checkpoint (its EMA weights, or the raw ones) or a weights file.

    Args:
        trusted: what its configuration may name beside this project's classes, as
            `require_harmless` takes it.

    Raises:
        UserError: no such file, not readable, one of another program, without EMA weights, or with
            a configuration that names what no file may name.
    """
    content = read_tensors(path)
    if CONFIG_KEY not in content:
        raise UserError(
            f"{path} does not say how to rebuild its network, as files of a training do: import it "
            f"with python -m dbim_lightning.weights import {commands.path(path)} --network NAME "
            "--schedule NAME -o FILE.safetensors"
        )
    if path.suffix == ".safetensors":
        config = _configuration(path, content.pop(CONFIG_KEY), trusted)
        return SavedDenoiser(
            path, config, _weights(path, content, "network."), _step(path, content, "step")
        )
    has_ema = "current_model_state" in content
    if not (raw or has_ema):
        raise UserError(
            f"{path} has no EMA weights; to take the raw ones: python -m dbim_lightning.weights "
            f"export {commands.path(path)} --raw -o FILE.safetensors, then "
            "weights=FILE.safetensors"
        )
    config = _configuration(path, content[CONFIG_KEY], trusted)
    state = content.get("current_model_state" if raw and has_ema else "state_dict")
    own = {
        key.removeprefix(PREFIX): value
        for key, value in (state.items() if isinstance(state, dict) else ())
        if isinstance(key, str) and key.startswith(PREFIX)
    }
    return SavedDenoiser(path, config, _weights(path, own), _step(path, content, "global_step"))


def _weights(path: Path, content: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    weights = {f"{prefix}{k}": v for k, v in content.items() if isinstance(v, Tensor)}
    for key, value in weights.items():
        is_plain = value.layout == torch.strided and not value.is_quantized
        if not is_plain or value.nbytes > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {key} is sparse, quantised or repeats itself: no weights")
    if not weights:
        raise UserError(f"{path} holds no weights of a denoiser: use a file of a training")
    return weights


def _step(path: Path, content: dict[str, Any], key: str) -> int:
    step = content.get(key)
    if isinstance(step, int | str) and str(step).isdecimal() and len(str(step)) < 16:
        return int(step)
    raise UserError(f"{path}: {key}={step!r:.99} is no number of steps: use another file")


def _configuration(path: Path, saved: Any, trusted: Collection[str]) -> dict[str, Any]:
    config = _plain(path, saved)
    require_harmless(config, path, trusted)
    if not isinstance(config.get("dataset") or {}, dict):
        raise UserError(f"{path}: its dataset is no configuration: use a file of a training")
    return config


def _plain(path: Path, saved: Any) -> dict[str, Any]:
    """A configuration in today's form, from JSON or from plain containers."""
    try:
        saved = json.loads(saved) if isinstance(saved, str) else saved
        require_plain(saved, path)
        config = upgraded(saved)
        is_whole = isinstance(config["denoiser"]["schedule"], dict)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"{path}: its configuration describes no denoiser: use a file of a training"
        )
    return config


def read_samplers(path: Path) -> dict[str, Any]:
    """The `samplers` in the configuration of a weights file, alone and without its tensors.

    Raises:
        UserError: no such file, not a whole one, none of this project, or one whose samplers are
            not of this project's classes.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError(f"{path} is no weights file: give a .safetensors file of weights export")
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if CONFIG_KEY not in metadata:
        raise UserError(f"{path} carries no configuration: use a file of weights export")
    samplers = {"samplers": _plain(path, metadata[CONFIG_KEY]).get("samplers")}
    require_harmless(samplers, path)
    return samplers


def _read_safetensors(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return {**(file.metadata() or {}), **tensors}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path} is not whole ({error}): copy or download it again") from error


def write_denoiser(path: Path, saved: SavedDenoiser) -> None:
    """Writes a weights file: the network's tensors, and the configuration as metadata, without what
    the command alone said.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    tensors = {
        key.removeprefix("network."): value.contiguous() for key, value in saved.weights.items()
    }
    config = {key: value for key, value in saved.config.items() if key not in OF_THE_COMMAND}
    metadata = {CONFIG_KEY: json.dumps(config), "step": str(saved.step), "format": "pt"}
    with whole(path) as beside:
        try:
            save_file(tensors, beside, metadata)
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        beside.chmod(0o644)  # safetensors gives it to its owner alone


def differing(ours: dict[str, tuple], theirs: dict[str, tuple]) -> str:
    """The first five keys whose shapes differ, or an empty text."""
    keys = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    shown = ", ".join(f"{key} ({theirs.get(key)}, not {ours.get(key)})" for key in keys[:5])
    return f"{len(keys)} weights differ, first {shown}" if keys else ""


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple]:
    return {key: tuple(value.shape) for key, value in weights.items()}


def load_weights(denoiser: BridgeDenoiser, saved: SavedDenoiser) -> None:
    """Puts saved weights into the denoiser.

    Raises:
        UserError: the weights are of another network; names the first keys that differ.
    """
    different = differing(shapes(denoiser.state_dict()), shapes(saved.weights))
    if different:
        raise UserError(
            f"{saved.path} holds another network; {different}: "
            "use the network that it was trained with"
        )
    denoiser.load_state_dict(saved.weights)


def newest_checkpoint(runs: Path) -> Path:
    """The last checkpoint of the run under `runs` that finished last.

    Raises:
        UserError: no run has finished.
    """
    finished = sorted(runs.glob("**/training.json"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise UserError(
            f"no finished run under {runs}: train one with {program('train')}, "
            "or give checkpoint=PATH"
        )
    return finished[-1].parent / "checkpoints" / "last.ckpt"
