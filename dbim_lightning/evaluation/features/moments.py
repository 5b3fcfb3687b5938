"""What one pass over images leaves of their features: sums, and the features of a bounded few."""

import torch
from torch import Tensor

from dbim_lightning.errors import UserError

KEPT_IMAGES = 10_000


class Moments:
    """Running float64 sums of features and of their outer products, about zero.

    The point is the same in every process, so that sums add up. The covariance then carries an
    error of about 1e-16 |mean|^2, which matters only where features vary by less than a millionth
    of their mean; those of Inception lie between 0 and 2 and vary by about as much.

    Args:
        num_features: d. The sums take 8 (d^2 + d + 1) bytes, however many images are seen.
    """

    def __init__(self, num_features: int) -> None:
        self._sums = {
            "n": torch.zeros((), dtype=torch.float64),
            "sum": torch.zeros(num_features, dtype=torch.float64),
            "products": torch.zeros(num_features, num_features, dtype=torch.float64),
        }

    def update(self, features: Tensor) -> None:
        """Adds features (B, d) of any batch size."""
        features = features.cpu().double()
        self._sums["n"] += len(features)
        self._sums["sum"] += features.sum(dim=0)
        self._sums["products"].addmm_(features.T, features)

    def sums(self) -> dict[str, Tensor]:
        """n (), sum (d,) and products (d, d), float64."""
        return {name: value.clone() for name, value in self._sums.items()}


def mean_and_covariance(sums: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) in float64 from the sums of `Moments`.

    Raises:
        UserError: for fewer than 2 images, or features that are not finite.
    """
    n, mean = sums["n"], sums["sum"] / sums["n"]
    if n < 2:
        raise UserError(f"a covariance of {int(n)} image(s): give at least 2")
    if not sums["products"].isfinite().all():
        raise UserError("features hold NaN or infinity: check the images and the feature network")
    return mean, (sums["products"] - n * mean.outer(mean)) / (n - 1)


class KeptFeatures:
    """Features of at most `at_most` among `num_images` images, spread evenly over their positions.

    Attributes:
        positions: of the images that are kept.
        rows: (min(at_most, num_images), d) float32. A row is zero until its image is seen, so
            that the rows of processes that have seen different images add up without rounding.
    """

    def __init__(self, num_images: int, num_features: int, at_most: int = KEPT_IMAGES) -> None:
        count = min(at_most, num_images)
        self.positions = torch.arange(count) * num_images // count
        self.rows = torch.zeros(count, num_features)

    def update(self, position: Tensor, features: Tensor) -> None:
        """Keeps what is to be kept of features (B, d) of the images at position (B,)."""
        row = torch.searchsorted(self.positions, position).clamp(max=len(self.rows) - 1)
        kept = self.positions[row] == position
        self.rows[row[kept]] = features.cpu()[kept].float()
