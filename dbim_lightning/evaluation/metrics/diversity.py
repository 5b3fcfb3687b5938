"""How much the samples of one source differ when only the noise does."""

from itertools import combinations

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Column, Means


class Diversity(Means):
    """Compares K samples of each source, which were drawn with K different noises.

    Three numbers, each a mean over sources: the average feature distance (AFD) |f_i - f_j|_2 over
    pairs of samples, their Vendi score, and the mean over pixels of the standard deviation of the
    K samples (unbiased, on [-1, 1]).

    Args:
        network: of the features f.
        noises: K, 2 or more; 0 leaves the metric out.

    Raises:
        UserError: for another K.
    """

    def __init__(self, network: FeatureNetwork, noises: int) -> None:
        if noises != 0 and not (isinstance(noises, int) and noises >= 2):
            raise UserError(f"diversity of noises={noises}: give 2 or more, or 0 for none")
        self.network, self.noises = network, noises
        self._distance, self._vendi = f"afd_{network.name}", f"vendi_{network.name}"
        self.columns = {
            self._distance: Column(network.titled("AFD"), 2, "↑"),
            self._vendi: Column(network.titled("Vendi"), 3, "↑"),
            "diversity_pixel_std": Column("pixel std", 4, "↑"),
        }

    def values(self, images: Images) -> dict[str, Tensor]:
        network = self.network.to(images.samples.device)
        features = torch.stack([network(samples).cpu().double() for samples in images.samples])
        distances = torch.stack([(a - b).norm(dim=1) for a, b in combinations(features, 2)])
        spread = (images.samples.cpu().double() / 127.5).std(dim=0)
        return {
            self._distance: distances.mean(dim=0),
            self._vendi: vendi_score(features.transpose(0, 1)),
            "diversity_pixel_std": spread.mean(dim=(1, 2, 3)),
        }


def vendi_score(features: Tensor) -> Tensor:
    """exp(-sum lambda log lambda) over the eigenvalues of the cosine similarities, divided by K.

    1 where all K point the same way, K where all are orthogonal (Friedman and Dieng 2023,
    arXiv 2210.02410, definition 3.1).

    Args:
        features: (B, K, d), of K images of each source.

    Returns:
        (B,).
    """
    directions = torch.nn.functional.normalize(features, dim=2)
    similarities = directions @ directions.mT
    eigenvalues = torch.linalg.eigvalsh(similarities / features.shape[1]).clamp(min=0)
    return torch.special.entr(eigenvalues).sum(dim=1).exp()
