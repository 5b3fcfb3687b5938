"""What networks require of the data that they are given."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dbim_lightning.errors import UserError
from dbim_lightning.networks.adm import ADMUNet


def require_image_size(network: nn.Module, dataset: Mapping[str, Any]) -> None:
    """Refuses the `image_size` of a data set's configuration, where both are known to differ.

    Raises:
        UserError: a size that the network says it cannot take.
    """
    size, require_size = dataset.get("image_size"), getattr(network, "require_size", None)
    if size is not None and require_size is not None:
        try:
            require_size(size, size)
        except UserError as error:
            raise UserError(f"dataset.image_size={size}: {error}") from error


def require_pairs(network: nn.Module, pairs: Sequence[Mapping[str, Any]]) -> None:
    """Refuses pairs that a network does not take, as far as it says what it takes.

    Args:
        pairs: one or more; their first counts, and `num_classes`, where they have it.

    Raises:
        UserError: another size or number of channels, or labels that lack or exceed its classes.
    """
    if not isinstance(network, ADMUNet):
        return
    channels, height, width = pairs[0]["x_0"].shape
    network.require_size(height, width)
    for key in ("in_channels", "out_channels"):
        if getattr(network, key) != channels:
            raise UserError(
                f"network.{key}={getattr(network, key)}, but the images have {channels}: use that"
            )
    if network.num_classes is None:
        return
    if "label" not in pairs[0]:
        raise UserError(
            f"network.num_classes={network.num_classes} needs pairs with labels: use data that "
            "have some, as by dataset.labels=true, or network.num_classes=null"
        )
    found = getattr(getattr(pairs, "dataset", pairs), "num_classes", 0)
    if found > network.num_classes:
        raise UserError(
            f"network.num_classes={network.num_classes}: the pairs have {found} classes, use that"
        )
