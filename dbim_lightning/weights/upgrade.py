"""Configurations that version 0.1 wrote into checkpoints and weights files, in today's form."""

from typing import Any

_PARTS = ("network", "schedule", "preconditioning")
_MOVED = {
    "dbim_lightning.data.PairDataModule": "dbim_lightning.training.PairDataModule",
    "dbim_lightning.samplers.Power": "dbim_lightning.samplers.Karras",
}


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """The same with a `denoiser`, and with classes under the names that they have now."""
    if "denoiser" not in config and config.keys() >= set(_PARTS):
        parts = {part: config[part] for part in _PARTS}
        denoiser = {"_target_": "dbim_lightning.bridge.BridgeDenoiser", **parts}
        config = {**config, "denoiser": denoiser}
    return _renamed(config)


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return _MOVED.get(value, value) if isinstance(value, str) else value
