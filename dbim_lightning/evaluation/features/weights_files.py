"""Where the published weights of metrics must lie. Nothing here, or after it, downloads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dbim_lightning.errors import UserError

_TORCHVISION = "https://download.pytorch.org/models"
ADDRESSES = {
    "inception-2015-12-05.pt": (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"
    ),
    "pt_inception-2015-12-05-6726825d.pth": (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
    ),
    "vgg16-397923af.pth": _TORCHVISION,
    "alexnet-owt-7be5be79.pth": _TORCHVISION,
    "squeezenet1_1-b8a52dc0.pth": _TORCHVISION,
    "resnet50-0676ba61.pth": _TORCHVISION,
}


def find_weights(name: str, metric: str, *other_folders: Path) -> Path:
    """Path of a published file, one of `ADDRESSES`, in $TORCH_HOME/hub/checkpoints.

    Args:
        metric: that needs the file, for the message.
        other_folders: to look in after that one.

    Raises:
        UserError: if no folder has the file: where to put it, and where it comes from.
    """
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    for folder in (checkpoints, *other_folders):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{metric} needs {checkpoints / name}, which is missing: put it there, from "
        f"{ADDRESSES[name]}/{name} (TORCH_HOME names another folder; metrics=offline needs none)"
    )


def require_tensors(path: Path) -> None:
    """For the libraries that unpickle a file as it is: refuses more than tensors in it.

    Raises:
        pickle.UnpicklingError: as said.
    """
    torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a weights file is read into a `UserError` that names it."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"cannot use the weights file {path} ({reason}): it is broken or another network's, "
            "fetch it again"
        ) from error
