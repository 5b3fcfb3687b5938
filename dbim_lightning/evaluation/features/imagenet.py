"""Images as networks that were trained on ImageNet take them."""

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 224


def normalised(images: Tensor, antialias: bool) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, 224, 224) float32 with the mean and spread of ImageNet."""
    mean, std = (torch.tensor(x, device=images.device).view(3, 1, 1) for x in (MEAN, STD))
    resized = F.interpolate(
        images.float() / 255, size=(SIDE, SIDE), mode="bicubic", antialias=antialias
    )
    return (resized - mean) / std
