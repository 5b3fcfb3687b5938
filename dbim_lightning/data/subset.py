"""A fixed part of a data set, and what holds for all of it."""

from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from dbim_lightning.errors import UserError


def spread(data: Dataset, count: int | None) -> Dataset:
    """`count` images spread evenly over the data, or all of it.

    Raises:
        UserError: a count below 2 or above the size of the data.
    """
    if count is None:
        return data
    if not min(2, len(data)) <= count <= len(data):
        raise UserError(f"num_images={count}: use 2 to {len(data)}, which is all there are")
    return Subset(data, torch.linspace(0, len(data) - 1, count).long().tolist())


def settled(data: Dataset) -> dict[str, Any]:
    """Options of a data set that turned out only when it was read, if it says so."""
    return getattr(data.dataset if isinstance(data, Subset) else data, "settled", {})
