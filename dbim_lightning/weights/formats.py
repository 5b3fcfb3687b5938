"""The published weights: recognised by their content, and brought into the form of `ADMUNet`."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dbim_lightning.errors import UserError

Weights = dict[str, Tensor]
INPUT, OUTPUT = "input_blocks.0.0.weight", "out.2.weight"
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")  # of wrappers and of whole programs


def unwrapped(content: dict[str, Any]) -> tuple[str, Weights]:
    """The state dict of a network in what another program saved, and where it was found.

    It may be the content itself or stand in it, as "state_dict" or "model.ema". Of several, it is
    that of the EMA. Prefixes of wrappers that all keys share are left out.

    Raises:
        UserError: no state dict in it, or several, of which none or several are EMAs.
    """
    found = {place: _without_prefixes(weights) for place, weights in _state_dicts(content)}
    found = {place: weights for place, weights in found.items() if INPUT in weights} or found
    if not found:
        kinds = ", ".join(f"{key} ({type(value).__name__})" for key, value in content.items())
        raise UserError(f"no state dict in it, but {kinds or 'nothing'}: give a file with one")
    chosen = list(found)
    if len(chosen) > 1:
        ema = re.compile(r"(?<!no_)(?<!non_)(?<!no)(?<!non)(?<![a-z])ema(?![a-z])")
        chosen = [place for place in found if ema.search(place.lower())]
    if len(chosen) != 1:
        raise UserError(
            f"several state dicts in it, {', '.join(chosen or found)}: save the one that you mean "
            "alone, by torch.save"
        )
    return chosen[0], found[chosen[0]]


def _state_dicts(content: dict[str, Any], place: str = "") -> Iterator[tuple[str, Weights]]:
    """Every dict by names that has tensors, scalars apart, with its place from the top."""
    if not all(isinstance(key, str) for key in content):
        return
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor) and v.ndim > 0}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _state_dicts(value, f"{place}.{key}" if place else key)


def _without_prefixes(weights: Weights) -> Weights:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            return _without_prefixes({k.removeprefix(prefix): v for k, v in weights.items()})
    return weights


def recognise(weights: Weights) -> str:
    """Which of the published programs wrote a state dict: "ADM", "DDBM" or "DBIM"."""
    if INPUT in weights and weights[INPUT].shape[1] == 3:
        return "ADM"
    return "DDBM" if any(_is_2d(key, value) for key, value in weights.items()) else "DBIM"


def convert(weights: Weights) -> Weights:
    """The state dict as DBIM's program would have written it.

    DDBM's 1x1 convolutions of attention lose their last dimension. ADM's diffusion model loses
    its variance output, and sees x_T beside x through a copy of its first layer.
    """
    kind = recognise(weights)
    if kind == "DDBM":
        return {k: v.squeeze(-1) if _is_2d(k, v) else v for k, v in weights.items()}
    if kind == "ADM":
        head = {key: weights[key][:3] for key in (OUTPUT, "out.2.bias") if key in weights}
        return weights | head | {INPUT: weights[INPUT].repeat(1, 2, 1, 1)}
    return weights


def _is_2d(key: str, value: Tensor) -> bool:
    return key.endswith(("qkv.weight", "proj_out.weight")) and value.ndim == 4
