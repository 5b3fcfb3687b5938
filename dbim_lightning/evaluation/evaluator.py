"""One evaluation job: a trained bridge, a sampler, a set of images -> one result row."""

from functools import cached_property
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data import spread
from dbim_lightning.evaluation.generate import Generation, Images
from dbim_lightning.evaluation.metrics import ImageMetrics, distribution_metrics
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import Sampler

Row = dict[str, Any]


class Evaluator:
    """Judges samplers on one trained bridge; what they share is computed once.

    Args:
        denoiser: in evaluation mode, on its device.
        data: the pairs to evaluate on.
        train_data: training pairs for the reference, as many as `data` where there are.
        features: image features (B, 3, H, W) uint8 -> (B, d), or None for paired metrics only.
        batch_size: of sampling; changes no number.
    """

    def __init__(
        self,
        denoiser: BridgeDenoiser,
        data: Dataset,
        train_data: Dataset,
        features: nn.Module | None,
        batch_size: int,
    ):
        self.denoiser, self.data, self.train_data = denoiser, data, train_data
        self.features, self.batch_size = features, batch_size
        self.device = next(denoiser.parameters()).device

    def run(self, sampler: Sampler, seed: int) -> Row:
        """Samples every image once and returns metrics, references, calls and time."""
        generation = Generation(sampler, self.denoiser, self.data, seed, self.batch_size)
        metrics = ImageMetrics(self.features, self.device)
        for images in track(generation, f"Sampling at NFE {sampler.nfe}"):
            metrics.update(images.samples, images.targets)
        return {
            "num_images": metrics.num_images,
            "nfe_counted": generation.calls,
            **metrics.compute(self._target_features),
            "seconds": generation.seconds,
            "images_per_second": metrics.num_images / generation.seconds,
            "references": self._references,
        }

    def preview(self, sampler: Sampler, seeds: list[int], count: int = 12) -> dict[str, Images]:
        """A few images spread over the data, sampled with several seeds."""
        data = spread(self.data, min(count, len(self.data)))
        return {
            f"seed {seed}": next(iter(Generation(sampler, self.denoiser, data, seed, count)))
            for seed in seeds
        }

    @cached_property
    def _target_features(self) -> Tensor | None:
        return self._features_of(self.data, "targets")

    @cached_property
    def _references(self) -> dict[str, Row]:
        """What the bare sources score, and how far training targets are from test targets."""
        sources = ImageMetrics(self.features, self.device)
        for batch in track(DataLoader(self.data, self.batch_size), "Reference: bare sources"):
            sources.update(to_uint8(batch["x_T"]), to_uint8(batch["x_0"]))
        references = {"source": sources.compute(self._target_features)}
        if self.features is not None:
            training = self._features_of(self.train_data, "training targets")
            references["train_targets"] = distribution_metrics(training, self._target_features)
        return references

    def _features_of(self, data: Dataset, name: str) -> Tensor | None:
        if self.features is None:
            return None
        loader = track(DataLoader(data, self.batch_size), f"Reference: {name}")
        return torch.cat(
            [self.features(to_uint8(batch["x_0"]).to(self.device)).cpu() for batch in loader]
        )
