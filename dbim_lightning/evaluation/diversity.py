"""How much the samples of one source differ when only the noise does."""

from itertools import combinations

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.metric import Means


class Diversity(Means):
    """Compares K samples of each source, which were drawn with K different noises.

    Two numbers, each a mean over sources: the mean over pairs of samples of the distance
    |f_i - f_j|_2 of their features, and the mean over pixels of the standard deviation of the K
    samples (unbiased, on [-1, 1]).

    Args:
        features: the network f.
        device: where it runs.
    """

    def __init__(self, features: FeatureNetwork, device: torch.device | str = "cpu") -> None:
        super().__init__([f"diversity_{features.name}", "diversity_pixel_std"])
        self.device = torch.device(device)
        self.features = features.to(self.device)

    @torch.no_grad()
    def update(self, samples: list[Tensor]) -> None:
        """Adds a batch of sources.

        Args:
            samples: K >= 2 batches (B, 3, H, W) uint8; row i of each belongs to the same source.

        Raises:
            UserError: for fewer than 2 batches.
        """
        if len(samples) < 2:
            raise UserError(f"diversity of {len(samples)} sample per source: draw at least 2")
        features = [self.features(batch.to(self.device)).cpu().double() for batch in samples]
        distances = [(a - b).norm(dim=1) for a, b in combinations(features, 2)]
        spread = torch.stack([batch.double() / 127.5 for batch in samples]).std(dim=0)
        self.add([torch.stack(distances).mean(dim=0), spread.mean(dim=(1, 2, 3))])
