"""The Inception score."""

import math

import torch

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.inception import Inception
from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.metrics.metric import Column, Metric, Sums

_CLASSES, _SPLIT_SIZE = 1008, 5000


class InceptionScore(Metric):
    """exp(mean KL(p(y|x) || p(y))), averaged over splits  (Salimans et al. 2016, section 4).

    A split is 5000 images that are neighbours by position; the last one may be smaller. p(y|x) is
    the softmax over all 1008 outputs. The score is between 1 and 1008.

    Args:
        network: of mode "legacy_tensorflow" (as published) or "clean".

    Raises:
        UserError: for the mode "legacy_pytorch", which has no class outputs.
    """

    def __init__(self, network: Inception) -> None:
        if network.mode == "legacy_pytorch":
            raise UserError(
                "the Inception score needs class outputs, which legacy_pytorch lacks: "
                "choose the mode legacy_tensorflow or clean"
            )
        self.network = network
        self._key = f"is_{network.name}"
        self.columns = {self._key: Column(network.titled("IS"), 2, "↑", plotted=False)}

    def reset(self, num_images: int) -> None:
        splits = math.ceil(num_images / _SPLIT_SIZE)
        self._sums = {
            "count": torch.zeros(splits, dtype=torch.float64),
            "p": torch.zeros(splits, _CLASSES, dtype=torch.float64),
            "p_log_p": torch.zeros(splits, dtype=torch.float64),
        }

    def update(self, images: Images) -> None:
        """Adds the samples to the splits that their positions belong to."""
        logits = self.network.logits(images.features(self.network))
        log_p = logits.cpu().double().log_softmax(dim=1)
        split = images.position // _SPLIT_SIZE
        self._sums["count"].index_add_(0, split, torch.ones(len(split), dtype=torch.float64))
        self._sums["p"].index_add_(0, split, log_p.exp())
        self._sums["p_log_p"].index_add_(0, split, (log_p.exp() * log_p).sum(dim=1))

    def sums(self) -> Sums:
        """For each split: images, sum of p(y|x), sum of the negative entropies of p(y|x)."""
        return {name: value.clone() for name, value in self._sums.items()}

    def compute(self, sums: Sums) -> dict[str, float]:
        p_y = sums["p"] / sums["count"][:, None]
        divergence = sums["p_log_p"] / sums["count"] - torch.xlogy(p_y, p_y).sum(dim=1)
        return {self._key: float(divergence.exp().mean())}
