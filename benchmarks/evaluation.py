"""What the offline metrics cost beside sampling: python -m benchmarks.evaluation.

Samples 256 pairs of 32x32 at NFE 10 in float32 with the default network (random weights cost the
same), and runs the metrics of metrics=offline over them; both in blocks of 64, in turns.
"""

import os
import platform
import time

import torch

from benchmarks.presets import preset
from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.composing import compose
from dbim_lightning.config import instantiate
from dbim_lightning.evaluation.references.statistics import make_reference
from dbim_lightning.evaluation.samples.generate import Generation
from dbim_lightning.samplers import DBIM

IMAGES, SIZE, NFE = 256, 32, 10


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads")
    x = torch.rand(IMAGES, 2, 3, SIZE, SIZE) * 2 - 1
    data = [{"x_0": x[i, 0], "x_T": x[i, 1], "index": i, "name": str(i)} for i in range(IMAGES)]
    targets = (((x[:, 0] + 1) * 127.5).round().to(torch.uint8)).split(64)
    metrics = instantiate(compose("evaluate", ["metrics=offline"]).metrics).metrics
    for metric in metrics:
        metric.compare_with(lambda network: make_reference(targets, IMAGES, network, "cpu"))
        metric.reset(IMAGES)
    denoiser = BridgeDenoiser(preset("adm_tiny"), VPSchedule(), DDBMPreconditioning()).eval()
    generation = Generation(DBIM(NFE), denoiser, data, 0, 32)
    seconds = 0.0
    for images in generation:
        start = time.perf_counter()
        for metric in metrics:
            metric.update(images)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    for metric in metrics:
        metric.compute(metric.sums())
    last = time.perf_counter() - start
    sampling = generation.seconds
    print(f"sampling at NFE {NFE}: {sampling:.1f} s; metrics: {seconds:.1f} s along the way and ")
    print(f"{last:.1f} s at the end: {(seconds + last) / sampling:.0%} of the sampling")


if __name__ == "__main__":
    main()
