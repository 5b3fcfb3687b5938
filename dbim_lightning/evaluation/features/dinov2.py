"""DINOv2 features."""

from pathlib import Path

import torch
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features.imagenet import SIDE, normalised
from dbim_lightning.evaluation.features.network import FeatureNetwork, check_images
from dbim_lightning.evaluation.features.weights_files import reading

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
        self.network = timm.create_model(model, pretrained=False, img_size=SIDE, num_classes=0)
        self.num_features = self.network.num_features
        self.name = self.title = f"dinov2_{model.split('_')[1]}"
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
        return self.network(normalised(images, antialias=True))


def _check_given(path: Path, model: str) -> None:
    if not path.is_file():
        file = f"dinov2_vit{model.split('_')[1][0]}14"
        raise UserError(
            f"DINOv2 needs {path}, which is missing: put it there, from "
            f"https://dl.fbaipublicfiles.com/dinov2/{file}/{file}_pretrain.pth "
            "(metrics=offline needs none)"
        )
