"""The one contract between datasets and everything else."""

from typing import NotRequired, TypedDict

from torch import Tensor


class Pair(TypedDict):
    """A target and its source; `torch.utils.data.default_collate` turns pairs into a batch.

    x_0: Target (3, H, W), float32 in [-1, 1].
    x_T: Source (3, H, W), float32 in [-1, 1].
    index: Position in the split; it seeds the noise of the image and pairs it in metrics.
    name: What the image is called on disk.
    label: Class.
    mask: (1, H, W), float32, 1 where pixels are missing from the source, 0 where it keeps them.
    """

    x_0: Tensor
    x_T: Tensor
    index: int
    name: str
    label: NotRequired[int]
    mask: NotRequired[Tensor]
