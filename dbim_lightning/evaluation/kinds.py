"""What the metrics of result rows are called in tables and plots: kind, then feature network."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """How one metric is shown: multiplied by `scale`, with so many digits."""

    title: str
    scale: float
    digits: int
    better: str


_KINDS = {
    "fid": Kind("FID", 1, 2, "↓"),
    "is": Kind("IS", 1, 2, "↑"),
    "accuracy": Kind("accuracy", 100, 1, "↑"),
    "kid": Kind("KID × 10³", 1e3, 2, "↓"),
    "fd": Kind("FD", 1, 2, "↓"),
    "lpips": Kind("LPIPS", 1, 4, "↓"),
    "mse": Kind("MSE", 1, 4, "↓"),
    "psnr": Kind("PSNR", 1, 2, "↑"),
    "ssim": Kind("SSIM", 1, 3, "↑"),
    "diversity_pixel_std": Kind("pixel std", 1, 4, "↑"),
    "diversity": Kind("diversity", 1, 2, "↑"),
}
_NETWORK_UNSAID = {
    *("fid_inception_legacy_tensorflow", "is_inception_legacy_tensorflow", "accuracy_resnet50"),
    *("kid_lite0", "fd_lite0", "diversity_lite0"),
}


def _split(name: str) -> tuple[str, str]:
    """("kid", "lite0") of "kid_lite0"; the first is no kind if the key is no metric."""
    kind, _, network = (name, "", "") if name in _KINDS else name.partition("_")
    return kind, network


def is_metric(name: str) -> bool:
    """Whether a key of a result row is a metric, not a setting or a cost."""
    return _split(name)[0] in _KINDS


def kind_of(name: str) -> Kind:
    """Of a metric; the title names its network, unless that is the usual one."""
    kind, network = _split(name)
    shown = "" if name in _NETWORK_UNSAID else network.removeprefix("inception_")
    found = _KINDS[kind]
    return found._replace(title=f"{found.title} ({shown})") if shown else found


def metrics_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The metrics that any of the rows has, kind by kind."""
    names = {name for row in rows for name, value in row.items() if value is not None}
    kinds = list(_KINDS)
    found = [(kinds.index(_split(name)[0]), name) for name in names if is_metric(name)]
    return [name for _, name in sorted(found)]
