"""Where a network runs, and in which precision. States and results stay as they are."""

from contextlib import AbstractContextManager, nullcontext

import torch

from dbim_lightning.errors import UserError

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def device_named(name: str | torch.device | None) -> torch.device:
    """A device that can be used; None takes the best there is.

    Raises:
        UserError: no such device here.
    """
    best = torch.accelerator.current_accelerator(True) or torch.device("cpu")
    try:
        device = torch.device(name or best)
        torch.empty(0, device=device)
        if device.type not in ("cpu", best.type) or (device.type == "cpu" and device.index):
            raise RuntimeError("there is none")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name} cannot be used ({reason}): cuda, mps or cpu") from error
    return device


def best_precision(device: torch.device) -> str:
    """bfloat16 where the device computes in it natively and so is faster, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def precision_on(device: torch.device, name: str) -> str:
    """The precision that a name stands for on a device: "auto" is the best for it.

    Raises:
        UserError: a name that does not exist.
    """
    if name not in ("auto", "float32", *HALF):
        raise UserError(f"precision={name}: choose auto, float32, {' or '.join(HALF)}")
    return best_precision(device) if name == "auto" else name


def running_in(precision: str, device: torch.device) -> AbstractContextManager:
    """Within it, the products and convolutions of a network run in a precision (autocast);
    float32 leaves them as whoever calls has set them."""
    return torch.autocast(device.type, HALF[precision]) if precision in HALF else nullcontext()
