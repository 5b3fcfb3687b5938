"""What the device at hand does best."""

import torch

from dbim_lightning.bridge import best_precision


def device_of(accelerator: str) -> torch.device:
    """The kind of device that the Trainer takes for an accelerator: auto, gpu, cuda, mps, cpu."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def trainer_precision(device: torch.device) -> str:
    """bf16-mixed where the device computes in bf16 natively, else 32-true."""
    return "bf16-mixed" if best_precision(device) == "bfloat16" else "32-true"
