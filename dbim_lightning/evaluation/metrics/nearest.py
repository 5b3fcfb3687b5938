"""How near samples are to the images that a bridge was trained on: whether it remembers them."""

from operator import itemgetter

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Column, Means, ReferenceOf, Rows, Sums
from dbim_lightning.evaluation.processes import rank_and_world_size
from dbim_lightning.pictures import to_uint8

SHOWN = 12
PART = 10_000  # training targets at a time, which are copied


class NearestTraining(Means):
    """The distance |f - f'|_2 of each sample to the nearest training target, in the mean.

    Either way round: half of the images of a training are mirrored. Test targets are as far as
    images of the same kind are that nothing was trained on. Samples that are much nearer are a sign
    of memory, those that are farther no virtue; the picture has the nearest of all.

    Args:
        network: of the features f. Those of all training targets are held, 4 bytes a number.
    """

    compares_with_training = True

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network
        self._distance = f"nearest_{network.name}"
        note = (
            "the distance to the nearest training target: far below that of the targets is memory"
        )
        title = network.titled("nearest")
        self.columns = {self._distance: Column(title, 2, "", plotted=False, note=note)}

    def compare_with_training(self, data: Dataset, reference_of: ReferenceOf) -> None:
        self._data, self._features = data, reference_of(self.network).features

    def reset(self, num_images: int) -> None:
        super().reset(num_images)
        self._closest: list[tuple[float, int, Tensor]] = []

    def values(self, images: Images) -> dict[str, Tensor]:
        """Also keeps the nearest pairs: distance, training pair, and (sample, target) images."""
        mirrored = self.network(images.samples.flip(-1)).cpu()
        ways = [self._nearest(of) for of in (images.features(self.network), mirrored)]
        (distances, indices), (mirrored_distances, mirrored_indices) = ways
        indices = indices.where(distances <= mirrored_distances, mirrored_indices)
        distances = distances.minimum(mirrored_distances)
        shown = torch.stack([images.samples, images.targets], dim=1).cpu()
        found = zip(distances.tolist(), indices.tolist(), shown, strict=True)
        self._closest = sorted([*self._closest, *found], key=itemgetter(0))[:SHOWN]
        return {self._distance: distances}

    def _nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distance and index of the training target that is nearest to each of (B, d)."""
        parts = [torch.cdist(features, part) for part in self._features.split(PART)]
        indices = torch.cat(parts, dim=1).argmin(dim=1)
        return (features.double() - self._features[indices].double()).norm(dim=1), indices

    def sums(self) -> Sums:
        """Those of `Means`, and the nearest pairs: each process has rows of its own."""
        rank, world_size = rank_and_world_size()
        pixels = self._data[0]["x_0"].numel()
        closest = torch.zeros(world_size, SHOWN, 3 + 2 * pixels, dtype=torch.float64)
        for row, (distance, index, shown) in zip(closest[rank], self._closest, strict=False):
            row[:3], row[3:] = torch.tensor([1, distance, index]), shown.flatten()
        return super().sums() | {"closest": closest}

    def compute(self, sums: Sums) -> dict[str, float]:
        self.rows = self._pictured(sums)
        return super().compute(sums)

    def _pictured(self, sums: Sums) -> Rows:
        """The samples that are nearest of all, with the training targets and their own targets."""
        rows = sums["closest"].flatten(0, 1)
        rows = rows[rows[:, 0] > 0]
        rows = rows[rows[:, 1].argsort()][:SHOWN]
        training = [to_uint8(self._data[int(index)]["x_0"]) for index in rows[:, 2]]
        shape = training[0].shape
        samples, targets = rows[:, 3:].to(torch.uint8).view(-1, 2, *shape).unbind(dim=1)
        nearest = torch.stack(training)
        return [("sample", samples), ("nearest\nin training", nearest), ("own target", targets)]
