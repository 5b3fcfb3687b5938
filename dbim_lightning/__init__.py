"""Diffusion bridges: train them, and sample them in few network calls."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dbim_lightning.bridge import BridgeDenoiser


def load(path: "str | Path", device: str = "cpu") -> "BridgeDenoiser":
    """The denoiser in a weights file or a training checkpoint (EMA weights), ready to sample.

    Raises:
        UserError: no such file, not a whole one, or not one that says how to rebuild its network.
    """
    from pathlib import Path  # noqa: PLC0415 - so that the samplers alone need torch alone

    from dbim_lightning.weights import read_denoiser, restored  # noqa: PLC0415

    return restored(read_denoiser(Path(path))).to(device)
