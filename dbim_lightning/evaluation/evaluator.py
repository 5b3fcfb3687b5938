"""One evaluation job: samples, judged by a protocol -> the outcome for its result row."""

import logging
import math
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.progress import track
from torch.utils.data import Dataset, default_collate

from dbim_lightning.bridge import BridgeDenoiser, device_named
from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import Images, images_of, own_blocks
from dbim_lightning.evaluation.metrics.metric import Metric, Rows
from dbim_lightning.evaluation.processes import (
    all_reduce_max,
    all_reduce_sums,
    one_makes_it,
    rank_and_world_size,
)
from dbim_lightning.evaluation.protocol import Protocol
from dbim_lightning.evaluation.references.references import References
from dbim_lightning.evaluation.samples.generate import Generation
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.evaluation.samples.png import save_png
from dbim_lightning.evaluation.samples.shards import SampleShards
from dbim_lightning.evaluation.shown import ShownSamples
from dbim_lightning.files import printable
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import Sampler

log = logging.getLogger(__name__)
OTHER_SEEDS, SOURCES_OF_NOISES = 2, 64


class Outcome(NamedTuple):
    """What a job gives.

    row: the parts of its result row that are found out: metrics, columns, cost, baselines.
    previews: a few images, spread over the data, by the name of their noise.
    pictures: of metrics that have one, by number: labelled rows of images.
    """

    row: dict[str, Any]
    previews: dict[str, Images]
    pictures: dict[str, Rows]


class Evaluator:
    """Judges samples by a protocol; data, references and baselines are made once for all jobs.

    Args:
        dataset: split, and options of the protocol -> pairs.
        protocol: what is judged, compared with and measured.
        device: of feature networks.
        num_images: of the split, spread evenly; None takes all.
        folder: of reference statistics, which later evaluations find again.
        origin: what the reference depends on beside its images, in JSON's types.

    Raises:
        UserError: a number of images that the data do not have, one image alone, data that lack the
            options of the protocol, or a reference that does not fit.
    """

    def __init__(
        self,
        dataset: Callable[..., Dataset],
        protocol: Protocol,
        device: torch.device | str = "cpu",
        num_images: int | None = None,
        folder: Path = Path("runs/evaluation"),
        origin: dict[str, Any] | None = None,
    ):
        self.dataset, self.protocol, self.device = dataset, protocol, device_named(device)
        self.data = spread(dataset(protocol.split), num_images)
        if len(self.data) < 2:
            raise UserError(
                f"the {protocol.split} split has {len(self.data)} image: give it two or more"
            )
        self.rank, self.world_size = rank_and_world_size()
        options = dict(protocol.reference_options)
        origin = {**(origin or {}), "split": protocol.split, "options": options}
        references = References(
            self._reference_data(), protocol.reference, folder / "references", origin, self.device
        )
        with one_makes_it():
            self._compare_with_training(folder / "references", {**origin, "split": "train"})
            for metric in protocol.metrics:
                metric.compare_with(references)
        if protocol.reference is not None and not references.asked:
            raise UserError(
                f"metrics.reference={protocol.reference} is for metrics in features, and "
                f"metrics={protocol.name} measures none: leave it out or choose another protocol"
            )
        self._shown = ShownSamples(self.data)

    def generation(
        self,
        denoiser: BridgeDenoiser,
        sampler: Sampler,
        seed: int,
        batch_size: int = 32,
        shards: SampleShards | None = None,
    ) -> Generation:
        """This process's part of the samples of `data`, as the protocol judges them."""
        ranks, rounding = (self.rank, self.world_size), self.protocol.rounding
        return Generation(sampler, denoiser, self.data, seed, batch_size, *ranks, shards, rounding)

    def sampled(self, generation: Generation, png: Path | None = None) -> Outcome:
        """Of a bridge: samples every image once.

        Args:
            generation: of this evaluator.
            png: a folder for the samples as pictures.
        """
        name = f"seed {generation.seed}"
        outcome = self._outcome(generation, f"Sampling at NFE {generation.sampler.nfe}", name, png)
        seconds = all_reduce_max(generation.seconds)
        cost = {
            "nfe_counted": int(all_reduce_max(generation.calls)),
            "seconds": seconds,
            "seconds_per_image": seconds / len(self.data),
        }
        outcome.row["cost"] = cost | outcome.row["cost"]
        for metric in self.protocol.metrics:
            if metric.noises > 1:
                outcome.row["metrics"] |= self._over_noises(metric, generation)
        return outcome._replace(previews=outcome.previews | self._other_seeds(generation))

    def given(self, path: Path, png: Path | None = None) -> Outcome:
        """Of another program: a folder of images or an .npz file."""
        if any(metric.noises > 1 for metric in self.protocol.metrics):
            log.warning("diversity is left out: given samples have one noise for each source")
        given = GivenSamples(path, self.data, self.rank, self.world_size)
        return self._outcome(given, f"Judging {path}", "given", png)

    def judge(self, stream: Iterable[Images], title: str) -> dict[str, float]:
        """The protocol's numbers of a stream, of which each process sees its part."""
        metrics = [metric for metric in self.protocol.metrics if metric.noises == 1]
        return self._numbers(metrics, stream, title, len(self.data))

    def judge_sources(self, title: str) -> dict[str, float]:
        """The protocol's numbers of the bare sources, as if they were samples."""
        return self.judge(self._blocks(self.data, "x_T"), title)

    def _outcome(
        self, stream: Iterable[Images], title: str, name: str, png: Path | None
    ) -> Outcome:
        baselines = self.baselines
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        stream = self._shown.watched(self._saved(stream, png) if png else stream)
        values = self.judge(stream, title)
        columns = {key: asdict(column) for key, column in self.protocol.columns.items()}
        cost = {"peak_memory_gb": all_reduce_max(self._peak_memory())}
        row = {"metrics": values, "columns": columns, "cost": cost, "baselines": baselines}
        pictures = {next(iter(m.columns)): m.rows for m in self.protocol.metrics if m.rows}
        return Outcome(row, {name: self._shown.images()}, pictures)

    def _compare_with_training(self, folder: Path, origin: dict[str, Any]) -> None:
        comparing = [metric for metric in self.protocol.metrics if metric.compares_with_training]
        if not comparing:
            return
        try:
            train = self.dataset("train")
        except UserError as error:
            raise UserError(f"metrics.nearest=true needs training pairs: {error}") from error
        references = References(train, None, folder, origin, self.device, at_most=len(train))
        for metric in comparing:
            metric.compare_with_training(train, references)

    def _saved(self, stream: Iterable[Images], folder: Path) -> Iterator[Images]:
        for images in stream:
            save_png(images, self.data, folder)
            yield images

    def _over_noises(self, metric: Metric, generation: Generation) -> dict[str, float]:
        """What a metric finds in samples of a few sources with several noises."""
        data = spread(self.data, min(len(self.data), SOURCES_OF_NOISES))
        first = generation.seed * metric.noises  # so that two seeds share no noise
        seeds = range(first, first + metric.noises)
        streams = [replace(generation, data=data, seed=seed, shards=None) for seed in seeds]
        together = (
            replace(images[0], samples=torch.stack([one.samples for one in images]))
            for images in zip(*streams, strict=True)
        )
        return self._numbers([metric], together, f"{metric.noises} noises", len(data))

    def _other_seeds(self, generation: Generation) -> dict[str, Images]:
        """The images of the preview with other noises; the first process alone samples them."""
        if self.rank > 0:
            return {}
        seeds = [generation.seed + 1 + i for i in range(OTHER_SEEDS)]
        alone = {"data": self._shown.data, "rank": 0, "world_size": 1, "shards": None}
        streams = {f"seed {seed}": replace(generation, seed=seed, **alone) for seed in seeds}
        return {name: next(iter(stream)) for name, stream in streams.items()}

    def _numbers(
        self, metrics: list[Metric], stream: Iterable[Images], title: str, count: int
    ) -> dict[str, float]:
        for metric in metrics:
            metric.reset(count)
        blocks = len(own_blocks(count, self.rank, self.world_size))
        for images in track(stream, title, blocks, disable=self.rank > 0):
            on_device = images.to(self.device)
            for metric in metrics:
                metric.update(on_device)
        values: dict[str, float] = {}
        for metric in metrics:
            found = metric.compute(all_reduce_sums(metric.sums()))
            if not found.keys() <= metric.columns.keys():
                raise UserError(
                    f"{type(metric).__name__}.compute gave {', '.join(found)}, but its columns "
                    f"are {', '.join(metric.columns)}: give each number a column"
                )
            for key, value in found.items():
                values[key] = _number(value, metric)
                if not math.isfinite(values[key]) and self.rank == 0:
                    log.warning(
                        f"{printable(title)}: {key} of {type(metric).__name__} is {values[key]}, "
                        "which results.json has as null and tables as –"
                    )
        return values

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """What the bare sources score, and how far training targets are from the reference."""
        if not self.protocol.baselines:
            return {}
        baselines = {"source": self.judge_sources("Baseline: bare sources")}
        own = [metric for metric in self.protocol.metrics if metric.compares_with_training]
        if own:
            stream, title = self._blocks(self.data, "x_0"), "Baseline: targets"
            baselines["targets"] = self._numbers(own, stream, title, len(self.data))
        unpaired = [metric for metric in self.protocol.metrics if metric.judges_sets]
        if unpaired and (train := self._train()) is not None:
            stream, title = self._blocks(train, "x_0"), "Baseline: training targets"
            baselines["training targets"] = self._numbers(unpaired, stream, title, len(train))
        return baselines

    def _train(self) -> Dataset | None:
        """As many training pairs as are evaluated, or None from data without a training split."""
        try:
            train = self.dataset("train")
        except UserError as error:
            log.warning("no training targets for comparison: %s", error)
            return None
        return spread(train, min(len(self.data), len(train)))

    def _blocks(self, data: Dataset, key: str) -> Iterator[Images]:
        """This process's part of the data, judged as if one of its own images were the sample."""
        for block in own_blocks(len(data), self.rank, self.world_size):
            pairs = default_collate([data[i] for i in block])
            yield images_of(block, pairs, to_uint8(pairs[key]))

    def _reference_data(self) -> Dataset:
        options = self.protocol.reference_options
        if not options:
            return self.data
        try:
            return self.dataset(self.protocol.split, **options)
        except TypeError as error:
            raise UserError(
                f"metrics={self.protocol.name} is for data with the options {', '.join(options)}: "
                "choose another protocol, or ~metrics.reference_options"
            ) from error

    def _peak_memory(self) -> float:
        """GB, of the accelerator, or else of this process since it began."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _number(value: Any, metric: Metric) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{type(metric).__name__}.compute gave {value}: give numbers") from error
