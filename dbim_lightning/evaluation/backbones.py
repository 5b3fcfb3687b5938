"""DINOv2 features, and how often ResNet-50 recognises what a sample should show."""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import FeatureNetwork, check_images
from dbim_lightning.evaluation.metric import Images, Means
from dbim_lightning.evaluation.weights_files import find_weights, reading

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_SIDE = 224
_DINOV2 = tuple(f"vit_{size}_patch14_dinov2" for size in ("small", "base", "large", "giant"))


class DINOv2(FeatureNetwork):
    """The class token of a DINOv2 vision transformer at 224 px (Oquab et al. 2023), run by timm.

    Images are resized bicubically with antialiasing, position embeddings as timm does.

    Args:
        weights: a published file such as dinov2_vitl14_pretrain.pth.
        model: timm's name of the network in it, without register tokens.

    Raises:
        UserError: if timm or the file is missing, or the file does not fit the model.
    """

    def __init__(self, weights: str | Path, model: str = "vit_large_patch14_dinov2") -> None:
        super().__init__()
        if model not in _DINOV2:
            raise UserError(f"DINOv2 model {model!r}: choose one of {', '.join(_DINOV2)}")
        try:
            import timm  # noqa: PLC0415
            from timm.models.vision_transformer import checkpoint_filter_fn  # noqa: PLC0415
        except ImportError as error:
            raise UserError(
                f"DINOv2 features need {error.name}: pip install 'dbim-lightning[demo]' "
                "(in a clone: pip install -e '.[demo]')"
            ) from error
        _check_given(Path(weights), model)
        self.network = timm.create_model(model, pretrained=False, img_size=_SIDE, num_classes=0)
        self.num_features = self.network.num_features
        self.name = f"dinov2_{model.split('_')[1]}"
        with reading(Path(weights)):
            published = torch.load(weights, map_location="cpu", weights_only=True)
            self.network.load_state_dict(checkpoint_filter_fn(published, self.network))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, num_features) float32 of images (B, 3, H, W) uint8.

        Raises:
            UserError: if the images are not (B, 3, H, W) uint8.
        """
        check_images(images)
        return self.network(_normalised(images, antialias=True))


def _check_given(path: Path, model: str) -> None:
    if not path.is_file():
        file = f"dinov2_vit{model.split('_')[1][0]}14"
        raise UserError(
            f"DINOv2 needs {path}, which is missing: put it there, from "
            f"https://dl.fbaipublicfiles.com/dinov2/{file}/{file}_pretrain.pth "
            "(metrics=offline needs none)"
        )


@cache
def _resnet50(path: Path) -> nn.Module:
    """Read once for all jobs of a sweep."""
    network = resnet50().requires_grad_(False).eval()
    with reading(path):
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


class ClassifierAccuracy(Means):
    """The part of the samples that ResNet-50 gives their own label, top-1, in [0, 1].

    The weights are torchvision's IMAGENET1K_V1. As published, the whole image is resized to
    224 px, bicubic without antialiasing, and nothing is cropped.

    Args:
        device: where the network runs.

    Raises:
        UserError: if the weights file is missing.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(["accuracy_resnet50"])
        path = find_weights("resnet50-0676ba61.pth", "ResNet-50 accuracy")
        self.device = torch.device(device)
        self.network = _resnet50(path).to(self.device)

    @torch.no_grad()
    def update(self, images: Images) -> None:
        """Adds a batch.

        Raises:
            UserError: if the images have no labels.
        """
        if images.labels is None:
            raise UserError(
                "accuracy_resnet50 needs class labels, and this data set has none: "
                "leave that metric out"
            )
        logits = self.network(_normalised(images.samples.to(self.device), antialias=False))
        self.add([logits.argmax(dim=1).cpu() == images.labels])


def _normalised(images: Tensor, antialias: bool) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, 224, 224) float32 with the mean and spread of ImageNet."""
    mean, std = (torch.tensor(x, device=images.device).view(3, 1, 1) for x in (_MEAN, _STD))
    resized = F.interpolate(
        images.float() / 255, size=(_SIDE, _SIDE), mode="bicubic", antialias=antialias
    )
    return (resized - mean) / std
