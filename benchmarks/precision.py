"""What precision=auto gains in sampling: python -m benchmarks.precision [checkpoint].

Samples 64 pairs of 32x32 at NFE 20 with the default network, in float32 and in the best precision
of this machine, in nine turns; random weights cost what trained ones do. Prints the medians of the
seconds and of their ratios, and how far the images lie apart on [-1, 1].
"""

import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.presets import preset
from dbim_lightning import load
from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule, precision_on
from dbim_lightning.data import OpenMoji, spread
from dbim_lightning.samplers import DBIM, draw

IMAGES, BATCH, NFE, REPEATS = 64, 32, 20, 9


def sampled(denoiser: BridgeDenoiser, batches: list[dict], precision: str) -> tuple[float, list]:
    """Seconds, and the samples."""
    with denoiser.in_precision(precision):
        start = time.perf_counter()
        samples = [draw(denoiser, DBIM(NFE), batch, seed=0) for batch in batches]
        return time.perf_counter() - start, samples


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads")
    denoiser = BridgeDenoiser(preset("adm_tiny"), VPSchedule(), DDBMPreconditioning()).eval()
    if len(sys.argv) > 1:
        denoiser = load(Path(sys.argv[1]))
    pairs = torch.utils.data.DataLoader(spread(OpenMoji("test"), IMAGES), BATCH)
    batches = list(pairs)
    best = precision_on(denoiser.device, "auto")
    seconds: dict[str, list[float]] = {"float32": [], best: []}
    samples = {}
    for _ in range(REPEATS):
        for precision, taken in seconds.items():
            once, samples[precision] = sampled(denoiser, batches, precision)
            taken.append(once)
    full, auto = (statistics.median(taken) for taken in seconds.values())
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    apart = (torch.cat(samples["float32"]) - torch.cat(samples[best])).abs().mean()
    print(f"float32 {full:.2f} s, {best} {auto:.2f} s: {ratio:.2f} times as fast")
    print(f"mean difference of the images: {apart:.4f}")


if __name__ == "__main__":
    main()
