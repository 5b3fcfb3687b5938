"""What a protocol compares samples with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.data.fingerprint import fingerprint
from dbim_lightning.evaluation.features.moments import KEPT_IMAGES
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.references.files import cached_reference, read_reference
from dbim_lightning.evaluation.references.statistics import Reference, make_reference
from dbim_lightning.pictures import to_uint8


@dataclass
class References:
    """Reference statistics in any feature network: of the targets in a data set, or from a file.

    Args:
        data: of pairs, whose targets are the reference images.
        file: npz of statistics or images for the first network that asks, or None.
        folder: of computed statistics, which later evaluations find again.
        origin: what tells the data apart beside their images, in JSON's types.
        device: where networks run.
        at_most: images whose features are kept.
    """

    data: Dataset
    file: str | None
    folder: Path
    origin: dict[str, Any]
    device: torch.device
    at_most: int = KEPT_IMAGES
    _known: dict[str, Reference] = field(default_factory=dict, init=False)

    @property
    def asked(self) -> bool:
        """Whether any network has."""
        return bool(self._known)

    def __call__(self, network: FeatureNetwork) -> Reference:
        """The statistics in the features of a network.

        Raises:
            UserError: if a file is broken, or is of another network or size of images.
        """
        if network.name not in self._known:
            takes_file = self.file is not None and not self._known
            self._known[network.name] = self._found(network, takes_file)
        return self._known[network.name]

    def _found(self, network: FeatureNetwork, takes_file: bool) -> Reference:
        size = self.data[0]["x_0"].shape[-1]
        if takes_file:
            return read_reference(self.file, network, size, self.device)
        key = {
            "origin": json.dumps(self.origin, sort_keys=True),
            "images": self._fingerprint,
            "size": size,
            "num_images": len(self.data),
            "network": network.name,
            "weights": network.fingerprint(),
        }
        if self.at_most != KEPT_IMAGES:
            key["at_most"] = self.at_most
        return cached_reference(self.folder, key, lambda: self._made(network), self.at_most)

    def _made(self, network: FeatureNetwork) -> Reference:
        targets = self._targets(f"Reference: {network.name}")
        return make_reference(targets, len(self.data), network, self.device, self.at_most)

    def _targets(self, title: str) -> Iterator[Tensor]:
        for batch in track(DataLoader(self.data, 64), title):
            yield to_uint8(batch["x_0"])

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.data)
