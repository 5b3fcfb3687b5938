"""What the device at hand does best."""

import torch


def best_precision() -> str:
    """bf16-mixed where the device computes in bf16 natively, else 32-true."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif torch.backends.mps.is_available():
        native = False
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"
