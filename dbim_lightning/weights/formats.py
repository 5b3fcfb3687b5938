"""The published weights: recognised by their content, and brought into the form of `ADMUNet`."""

from torch import Tensor

Weights = dict[str, Tensor]
INPUT, OUTPUT = "input_blocks.0.0.weight", "out.2.weight"


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
