"""How samples are judged: which, compared with what, and by what measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics.metric import Column, Metric


@dataclass(frozen=True)
class Protocol:
    """A named choice. Making its metrics checks that every weights file is there.

    Judged:
        name: as tables state it.
        split: of the data that is sampled and judged.
        rounding: how samples become 8-bit images: to the "nearest" level, or "down", as published.

    Compared with:
        reference: npz of reference statistics, for the first feature network; None: the targets.
        reference_options: of the data set, where the reference is of other images than are judged.

    Measured:
        measured: metrics by names of their own; null leaves one out.
        nearest: whether metrics that compare with the training targets are measured as well.
        baselines: whether bare sources and training targets are judged as well, for comparison.

    Raises:
        UserError: a rounding that does not exist, two metrics whose numbers share a key, or
            `nearest` without a metric for it or where training images are judged.
    """

    name: str
    split: str = "test"
    rounding: str = "nearest"
    reference: str | None = None
    reference_options: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Metric] = field(default_factory=dict)
    nearest: bool = False
    baselines: bool = False

    def __post_init__(self) -> None:
        if self.rounding not in ("nearest", "down"):
            raise UserError(f"metrics.rounding={self.rounding}: choose nearest or down")
        for name, metric in (self.measured or {}).items():
            if metric is not None and not hasattr(metric, "columns"):
                raise UserError(
                    f"metrics.measured.{name} is a {type(metric).__name__} without columns: make "
                    'it a Metric with columns = {"mse": Column("MSE", digits=4, better="↓")}'
                )
        if self.nearest and not any(metric.compares_with_training for metric in self.metrics):
            raise UserError(
                f"metrics.nearest=true: metrics={self.name} has no metric for it, such as "
                "NearestTraining in offline and native"
            )
        if self.nearest and self.split == "train":
            raise UserError(
                "metrics.nearest=true with metrics.split=train: training images are at no distance "
                "from themselves, judge another split"
            )
        keys = [key for metric in self.metrics for key in metric.columns]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise UserError(f"metrics.measured has {', '.join(sorted(twice))} twice: remove one")

    @property
    def metrics(self) -> list[Metric]:
        """What is measured, without what is null or switched off."""
        measured = (self.measured or {}).values()
        wanted = (metric for metric in measured if metric is not None and metric.noises > 0)
        return [metric for metric in wanted if self.nearest or not metric.compares_with_training]

    @property
    def columns(self) -> dict[str, Column]:
        """Of all numbers, by key."""
        return {key: column for metric in self.metrics for key, column in metric.columns.items()}
