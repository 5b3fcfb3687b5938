"""Inception features as clean-fid computes them."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.network import FeatureNetwork, check_images
from dbim_lightning.evaluation.features.weights_files import find_weights, reading, require_tensors

MODES = ("legacy_tensorflow", "legacy_pytorch", "clean")
CLEANFID_FOLDER = Path("/tmp")  # where clean-fid itself keeps the TorchScript file


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
    distance_title = "FID"

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in MODES:
            raise UserError(f"Inception mode {mode!r}: choose one of {', '.join(MODES)}")
        self.mode, self.name, self.title = mode, f"inception_{mode}", mode
        with warnings.catch_warnings(action="ignore"):  # of torchvision and TorchScript
            self.network = _network(mode, _weights_file(mode))
            self._resize = _resizer(mode)
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


# clean-fid takes two seconds to import, which evaluations without it need not wait for.


def _resizer(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    from cleanfid.resize import build_resizer  # noqa: PLC0415

    return build_resizer(mode)


def _weights_file(mode: str) -> Path:
    if mode == "legacy_pytorch":
        return find_weights("pt_inception-2015-12-05-6726825d.pth", f"Inception {mode}")
    return find_weights("inception-2015-12-05.pt", f"Inception {mode}", CLEANFID_FOLDER)


@cache
def _network(mode: str, path: Path) -> nn.Module:
    """Read once for all metrics and jobs; clean-fid looks for the file at `path`, too."""
    from cleanfid.inception_pytorch import InceptionV3  # noqa: PLC0415
    from cleanfid.inception_torchscript import InceptionV3W  # noqa: PLC0415

    with reading(path):
        if mode == "legacy_pytorch":
            require_tensors(path)
            return InceptionV3(resize_input=False)
        resizes = mode == "legacy_tensorflow"
        return InceptionV3W(str(path.parent), download=False, resize_inside=resizes)
