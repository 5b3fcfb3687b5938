"""Configurations that version 0.1 wrote into checkpoints and weights files, in today's form."""

from typing import Any

_PARTS = ("network", "schedule", "preconditioning")
_METRICS = "dbim_lightning.evaluation.metrics"
_MOVED = {
    "dbim_lightning.data.PairDataModule": "dbim_lightning.training.PairDataModule",
    "dbim_lightning.samplers.Power": "dbim_lightning.samplers.Karras",
    **{
        f"dbim_lightning.evaluation.{name}": f"dbim_lightning.evaluation.features.{name}"
        for name in ("EfficientNetLite0", "Inception", "DINOv2")
    },
}


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """The same with a `denoiser`, with metrics by name, and with classes under today's names."""
    if "denoiser" not in config and config.keys() >= set(_PARTS):
        parts = {part: config[part] for part in _PARTS}
        denoiser = {"_target_": "dbim_lightning.bridge.BridgeDenoiser", **parts}
        config = {**config, "denoiser": denoiser}
    evaluation = config.get("evaluation", {})
    if "features" in evaluation.get("metrics", {}) or "paired" in evaluation.get("metrics", {}):
        metrics = _protocol(evaluation["metrics"])
        config = {**config, "evaluation": {**evaluation, "metrics": metrics}}
    return _renamed(config)


def _protocol(old: dict[str, Any]) -> dict[str, Any]:
    """A protocol as a training uses it: without diversity and baselines."""
    measured = {
        f"features_{i}": {"_target_": f"{_METRICS}.FeatureDistance", "network": network}
        for i, network in enumerate(old.get("features") or [])
    }
    if (network := old.get("inception_score")) is not None:
        measured["inception_score"] = {"_target_": f"{_METRICS}.InceptionScore", "network": network}
    if (options := old.get("paired")) is not None:
        measured["paired"] = {"_target_": f"{_METRICS}.PairedMetrics", **options}
    if old.get("accuracy"):
        measured["accuracy"] = {"_target_": f"{_METRICS}.ClassifierAccuracy"}
    kept = ("_target_", "name", "split", "reference", "reference_options")
    rounding = "down" if old.get("truncates") else "nearest"
    same = {key: old[key] for key in kept if key in old}
    return {**same, "rounding": rounding, "measured": measured}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return _MOVED.get(value, value) if isinstance(value, str) else value
