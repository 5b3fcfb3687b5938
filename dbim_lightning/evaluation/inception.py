"""Inception features as clean-fid computes them, and the Inception score."""

import math
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cleanfid.inception_pytorch import InceptionV3
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork, check_images
from dbim_lightning.evaluation.metric import Images, Sums
from dbim_lightning.evaluation.weights_files import find_weights, reading

MODES = ("legacy_tensorflow", "legacy_pytorch", "clean")
CLEANFID_FOLDER = Path("/tmp")  # where clean-fid itself keeps the TorchScript file
_CLASSES, _SPLIT_SIZE = 1008, 5000


class Inception(FeatureNetwork):
    """The 2048 pool features of Inception-2015-12-05, by clean-fid's own networks and resizers.

    Args:
        mode: "legacy_tensorflow": the TorchScript network, which resizes by itself;
            "clean": each channel resized to 299 px by PIL, bicubic, in float, then the same
            network; "legacy_pytorch": bilinear to 299 px by PyTorch, without antialiasing, then
            the network of pytorch-fid.

    Raises:
        UserError: if the weights file is missing. The one for TorchScript may lie in
            $TORCH_HOME/hub/checkpoints, beside the others, or in /tmp, as for clean-fid.
    """

    num_features = 2048
    distance_name = "fid"

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in MODES:
            raise UserError(f"Inception mode {mode!r}: choose one of {', '.join(MODES)}")
        self.mode, self.name = mode, f"inception_{mode}"
        with warnings.catch_warnings(action="ignore"):  # of torchvision and TorchScript
            self.network = _pytorch_fid() if mode == "legacy_pytorch" else _torchscript(mode)
            self._resize = build_resizer(mode)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) float32 of images (B, 3, H, W) uint8.

        Raises:
            UserError: if the images are not (B, 3, H, W) uint8.
        """
        check_images(images)
        pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        resized = torch.from_numpy(np.stack([self._resize(image) for image in pixels]))
        resized = resized.permute(0, 3, 1, 2).contiguous().to(images.device).float()
        if self.mode == "legacy_pytorch":
            return self.network(resized / 255)[0].flatten(1)
        return self.network(resized)

    def logits(self, features: Tensor) -> Tensor:
        """Class logits (B, 1008) of features (B, 2048), bias included; not in "legacy_pytorch"."""
        output = self.network.base.output
        return F.linear(features.to(output.weight), output.weight, output.bias)


def _torchscript(mode: str) -> InceptionV3W:
    path = find_weights("inception-2015-12-05.pt", f"Inception {mode}", CLEANFID_FOLDER)
    with reading(path):
        return InceptionV3W(
            str(path.parent), download=False, resize_inside=mode == "legacy_tensorflow"
        )


def _pytorch_fid() -> InceptionV3:
    path = find_weights("pt_inception-2015-12-05-6726825d.pth", "Inception legacy_pytorch")
    with reading(path):
        return InceptionV3(resize_input=False)


class InceptionScore:
    """exp(mean KL(p(y|x) || p(y))), averaged over splits  (Salimans et al. 2016, section 4).

    A split is 5000 images that are neighbours by position; the last one may be smaller. p(y|x) is
    the softmax over all 1008 outputs.

    Args:
        inception: of mode "legacy_tensorflow" (as published) or "clean".
        num_images: that will be seen in all.
        device: where the network runs.

    Raises:
        UserError: for the mode "legacy_pytorch", which has no class outputs.
    """

    def __init__(
        self, inception: Inception, num_images: int, device: torch.device | str = "cpu"
    ) -> None:
        if inception.mode == "legacy_pytorch":
            raise UserError(
                "the Inception score needs class outputs, which legacy_pytorch lacks: "
                "choose the mode legacy_tensorflow or clean"
            )
        self.device = torch.device(device)
        self.inception = inception.to(self.device)
        self.names = (f"is_{inception.name}",)
        splits = math.ceil(num_images / _SPLIT_SIZE)
        self._sums = {
            "count": torch.zeros(splits, dtype=torch.float64),
            "p": torch.zeros(splits, _CLASSES, dtype=torch.float64),
            "p_log_p": torch.zeros(splits, dtype=torch.float64),
        }

    def update(self, images: Images) -> None:
        """Adds the samples to the splits that their positions belong to."""
        features = images.features(self.inception, self.device)
        log_p = self.inception.logits(features).cpu().double().log_softmax(dim=1)
        split = images.position // _SPLIT_SIZE
        self._sums["count"].index_add_(0, split, torch.ones(len(split), dtype=torch.float64))
        self._sums["p"].index_add_(0, split, log_p.exp())
        self._sums["p_log_p"].index_add_(0, split, (log_p.exp() * log_p).sum(dim=1))

    def sums(self) -> Sums:
        """For each split: images, sum of p(y|x), sum of the negative entropies of p(y|x)."""
        return {name: value.clone() for name, value in self._sums.items()}

    def compute(self, sums: Sums) -> dict[str, float]:
        """The score, between 1 and 1008; higher is better."""
        p_y = sums["p"] / sums["count"][:, None]
        divergence = sums["p_log_p"] / sums["count"] - torch.xlogy(p_y, p_y).sum(dim=1)
        return {self.names[0]: float(divergence.exp().mean())}
