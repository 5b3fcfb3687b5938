"""What a feature network is."""

import hashlib

import torch
from torch import Tensor, nn

from dbim_lightning.errors import UserError


class FeatureNetwork(nn.Module):
    """A frozen network: (B, 3, H, W) uint8 on its device -> (B, num_features) float32.

    It stays in evaluation mode, also as part of a module that is being trained.

    Attributes:
        name: short, for the keys of result rows and of cached statistics.
        title: in the titles of its metrics; empty leaves it out.
        distance_title: what the Fréchet distance in its features is called.
        note: for the captions of tables; empty for none.
    """

    num_features: int
    name: str
    title = ""
    distance_title = "FD"
    note = ""

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stays in evaluation mode."""
        return super().train(False)

    def titled(self, metric: str) -> str:
        """The title of a metric in these features."""
        return f"{metric} ({self.title})" if self.title else metric

    def fingerprint(self) -> str:
        """Changes with the weights."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def check_images(images: Tensor) -> None:
    """Raises a `UserError` if images are not (B, 3, H, W) uint8."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"features of {images.dtype} {tuple(images.shape)}: pass (B, 3, H, W) uint8"
        )
