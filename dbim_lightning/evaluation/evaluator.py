"""One evaluation job: a trained bridge, a sampler, a protocol -> one result row."""

import hashlib
import json
import logging
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.diversity import Diversity
from dbim_lightning.evaluation.generate import Generation, images_of, own_blocks
from dbim_lightning.evaluation.given import GivenSamples, save_png
from dbim_lightning.evaluation.metric import Images, Metric
from dbim_lightning.evaluation.processes import (
    all_reduce_max,
    all_reduce_sums,
    rank_and_world_size,
)
from dbim_lightning.evaluation.protocol import Protocol
from dbim_lightning.evaluation.reference import (
    Reference,
    cached_reference,
    make_reference,
    read_reference,
)
from dbim_lightning.evaluation.rows import Row, in_words
from dbim_lightning.evaluation.shards import SampleShards
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import Sampler, identity

log = logging.getLogger(__name__)
LARGE, DIVERSITY_SOURCES = 2000, 64


class Evaluator:
    """Judges samplers on one trained bridge; what they share is computed once.

    Args:
        denoiser: in evaluation mode, on the device; None where samples are given.
        dataset: split, and options of the protocol -> pairs.
        protocol: what is judged, and how.
        device: of sampling and of feature networks.
        num_images: of the split, spread evenly; None takes all.
        batch_size: of sampling; changes no number.
        folder: of reference statistics and kept samples, which later evaluations find again.
        origin: what images depend on beside the sampler, in JSON's types: checkpoint and data.

    Raises:
        UserError: a number of images that the data do not have, one image alone, no batch size.
    """

    def __init__(
        self,
        denoiser: BridgeDenoiser | None,
        dataset: Callable[..., Dataset],
        protocol: Protocol,
        device: torch.device | str = "cpu",
        num_images: int | None = None,
        batch_size: int = 32,
        folder: Path = Path("runs/evaluation"),
        origin: Row | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: use 1 or more")
        self.denoiser, self.dataset, self.protocol = denoiser, dataset, protocol
        self.batch_size, self.folder, self.origin = batch_size, folder, origin or {}
        self.data = spread(dataset(protocol.split), num_images)
        if len(self.data) < 2:
            raise UserError(f"the {protocol.split} split has {len(self.data)} image: evaluate 2")
        self.device = torch.device(device)
        self.rank, self.world_size = rank_and_world_size()

    def run(
        self,
        sampler: Sampler,
        seed: int,
        keep: bool | None = None,
        png: Path | None = None,
    ) -> Row:
        """Samples every image once and returns metrics, references, calls and time.

        Args:
            keep: the samples, so that a killed job goes on; None keeps those of 2,000 or more.
            png: a folder for the samples as pictures.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        keep = len(self.data) >= LARGE if keep is None else keep
        generation = self.samples(sampler, seed, keep)
        row = self._row(generation, f"Sampling at NFE {sampler.nfe}", png)
        seconds = all_reduce_max(generation.seconds)
        row |= {"nfe_counted": int(all_reduce_max(generation.calls)), "seconds": seconds}
        if self.protocol.diversity:
            row |= self._diversity(sampler, seed)
        return row | {"images_per_second": len(self.data) / max(seconds, 1e-9)}

    def run_given(self, path: Path, png: Path | None = None) -> Row:
        """Judges the samples of another program: a folder of images or an .npz file."""
        given = GivenSamples(path, self.data, self.rank, self.world_size)
        return self._row(given, f"Judging {path}", png)

    def _row(self, stream: Generation | GivenSamples, title: str, png: Path | None) -> Row:
        context = self._context
        values = self.judge(self._saved(stream, png) if png else stream, title)
        row = {"num_images": len(self.data), **values, **self.origin}
        if "dataset" in row:
            row["dataset"] = in_words(row["dataset"])
        return row | {"peak_memory_gb": self._peak_memory(), "references": context}

    def _diversity(self, sampler: Sampler, seed: int) -> dict[str, float]:
        """Of samples of a few sources with several seeds."""
        data = spread(self.data, min(len(self.data), DIVERSITY_SOURCES))
        metric = Diversity(self.protocol.features[0], self.device)
        part = (self.batch_size, self.rank, self.world_size, None, self.protocol.truncates)
        first = seed * self.protocol.diversity  # so that two seeds share no noise
        seeds = range(first, first + self.protocol.diversity)
        streams = [Generation(sampler, self.denoiser, data, seed, *part) for seed in seeds]
        for batches in track(zip(*streams, strict=True), "Diversity", len(streams[0])):
            metric.update([images.samples for images in batches])
        return metric.compute(all_reduce_sums(metric.sums()))

    def _saved(self, stream: Iterable[Images], folder: Path) -> Iterator[Images]:
        for images in stream:
            save_png([images], self.data, folder)
            yield images

    def samples(self, sampler: Sampler, seed: int, keep: bool = False) -> Generation:
        """This process's part of the samples, kept in `folder` or not."""
        shards = None
        if keep:
            config = {**self.origin, **identity(sampler)}
            config |= {"seed": seed, "split": self.protocol.split}
            config |= {"num_images": len(self.data), "truncates": self.protocol.truncates}
            shards = SampleShards(self.folder / "samples", config)
        return Generation(
            sampler,
            self.denoiser,
            self.data,
            seed,
            self.batch_size,
            self.rank,
            self.world_size,
            shards,
            self.protocol.truncates,
        )

    def judge(self, stream: Iterable[Images], title: str) -> dict[str, float]:
        """The protocol's numbers of a stream, of which each process sees its part."""
        metrics = self.protocol.metrics(self.references, len(self.data), self.device)
        return self._numbers(metrics, stream, title, len(self.data))

    def preview(self, sampler: Sampler, seeds: Iterable[int], count: int = 12) -> dict[str, Images]:
        """A few images spread over the data, sampled with several seeds."""
        data = spread(self.data, min(count, len(self.data)))
        return {
            f"seed {seed}": next(iter(Generation(sampler, self.denoiser, data, seed, count)))
            for seed in seeds
        }

    def given_preview(self, path: Path) -> dict[str, Images]:
        """The first of the samples that another program made."""
        return {"given": next(iter(GivenSamples(path, self.data)))[:12]}

    def _numbers(
        self, metrics: list[Metric], stream: Iterable[Images], title: str, count: int
    ) -> dict[str, float]:
        blocks = len(own_blocks(count, self.rank, self.world_size))
        for images in track(stream, title, blocks, disable=self.rank > 0):
            for metric in metrics:
                metric.update(images)
        values: dict[str, float] = {}
        for metric in metrics:
            values |= metric.compute(all_reduce_sums(metric.sums()))
        return values

    @cached_property
    def references(self) -> list[Reference]:
        """Statistics of the reference images in each feature network, from a file or the data."""
        networks, given = self.protocol.features, self.protocol.reference
        size = self.data[0]["x_0"].shape[-1]
        if not networks:
            return []
        first = [read_reference(given, networks[0], size, self.device)] if given else []
        options = self.protocol.reference_options
        try:
            data = self.dataset(self.protocol.split, **options) if options else self.data
        except TypeError as error:
            raise UserError(
                f"metrics={self.protocol.name} is for data with the options {', '.join(options)}: "
                "choose another protocol, or metrics.reference_options={}"
            ) from error
        key = {"dataset": self._fingerprint(data), "split": self.protocol.split, "size": size}
        key |= {"num_images": len(data), "versions": json.dumps(self.origin.get("versions"))}
        return first + [
            cached_reference(
                self.folder / "references",
                {**key, "network": network.name, "weights": network.fingerprint()},
                lambda network=network: make_reference(
                    _targets(data, f"Reference: {network.name}"), len(data), network, self.device
                ),
            )
            for network in networks[len(first) :]
        ]

    @cached_property
    def _context(self) -> dict[str, Row]:
        """What the bare sources score, and how far training targets are from the reference."""
        if not self.protocol.context:
            return {}
        context = {"source": self.judge(self._blocks(self.data, "x_T"), "Context: bare sources")}
        if self.protocol.features and (train := self._train()) is not None:
            metrics = self.protocol.metrics(self.references, len(train), self.device)
            metrics = metrics[: len(self.protocol.features)]
            stream = self._blocks(train, "x_0")
            title = "Context: training targets"
            context["train_targets"] = self._numbers(metrics, stream, title, len(train))
        return context

    def _train(self) -> Dataset | None:
        """As many training pairs as are evaluated, or None from data without a training split."""
        try:
            train = self.dataset("train")
        except UserError as error:
            return log.warning("no training targets for comparison: %s", error)
        return spread(train, min(len(self.data), len(train)))

    def _blocks(self, data: Dataset, key: str) -> Iterator[Images]:
        """This process's part of the data, judged as if one of its own images were the sample."""
        for block in own_blocks(len(data), self.rank, self.world_size):
            pairs = torch.utils.data.default_collate([data[i] for i in block])
            yield images_of(block, pairs, to_uint8(pairs[key]))

    def _fingerprint(self, data: Dataset) -> str:
        """Changes with the configuration of the data, their number, and with 16 of the images."""
        digest = hashlib.sha256(json.dumps(self.origin.get("dataset"), sort_keys=True).encode())
        some = spread(data, min(16, len(data)))
        for i in range(len(some)):
            digest.update(to_uint8(some[i]["x_0"]).numpy().tobytes())
        return digest.hexdigest()

    def _peak_memory(self) -> float:
        """GB, of the accelerator where there is one, else of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _targets(data: Dataset, title: str) -> Iterator[torch.Tensor]:
    for batch in track(DataLoader(data, 64), title):
        yield to_uint8(batch["x_0"])
