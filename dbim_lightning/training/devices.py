"""What the device at hand does best."""

import torch

from dbim_lightning.bridge.precision import best_precision


def trainer_precision(accelerator: str = "auto") -> str:
    """bf16-mixed where the Trainer's accelerator computes in bf16 natively, else 32-true."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        device = "cuda"
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        device = "mps"
    else:
        device = "cpu"
    native = best_precision(torch.device(device)) == "bfloat16"
    return "bf16-mixed" if native else "32-true"
