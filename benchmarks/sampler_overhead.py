"""What a sampler costs beside its network: python -m benchmarks.sampler_overhead.

The denoiser costs nothing, a batch of images is (64, 3, 64, 64) float32. Prints a step's time, in
units of one torch.add of two such batches, with given noise; and the peak of memory beside the
inputs, in batches, with noise drawn per image.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile

from dbim_lightning.bridge import VPSchedule
from dbim_lightning.samplers import DBIM, DDBM, ImageNoise, Noise, Sampler

SHAPE = (64, 3, 64, 64)
FEW, MANY, REPEATS = 20, 200, 15
SAMPLERS = {
    "DBIM order 1, eta 0": DBIM,
    "DBIM order 1, eta 1": lambda nfe: DBIM(nfe, eta=1.0),
    "DBIM order 2": lambda nfe: DBIM(nfe, order=2),
    "DBIM order 3": lambda nfe: DBIM(nfe, order=3),
    "DDBM (per call)": DDBM,
}


def sample(sampler: Sampler, x_T: torch.Tensor, noise: Noise) -> None:
    """One run with a denoiser that costs nothing."""
    sampler.sample(lambda x, t, x_T: x_T, VPSchedule(), x_T, noise)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def relative_step_time(name: str) -> float:
    """Seconds of a step, from the difference of two numbers of them, over those of torch.add."""
    x_T, eps = torch.rand(SHAPE) * 2 - 1, torch.randn(SHAPE)
    few, many = SAMPLERS[name](FEW), SAMPLERS[name](MANY)
    ratios = []
    for _ in range(REPEATS):
        add = median_seconds(lambda: torch.add(x_T, eps), 101)
        steps = [median_seconds(lambda s=s: sample(s, x_T, lambda x: eps), 1) for s in (few, many)]
        ratios.append((steps[1] - steps[0]) / (many.nfe - few.nfe) / add)
    return statistics.median(ratios)


def extra_memory(name: str) -> float:
    """Peak of live memory in a run beside its inputs, noise included, in batches."""
    x_T, noise = torch.rand(SHAPE) * 2 - 1, ImageNoise(0, range(SHAPE[0]))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        sample(SAMPLERS[name](FEW), x_T, noise)
    events = [event for event in profiler.events() if event.self_cpu_memory_usage]
    events.sort(key=lambda event: event.time_range.start)
    return max(accumulate(event.self_cpu_memory_usage for event in events)) / x_T.nbytes


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads\n")
    print("| sampler | one step, in torch.add | peak memory, in batches |\n| --- | ---: | ---: |")
    for name in SAMPLERS:
        print(f"| {name} | {relative_step_time(name):.1f} | {extra_memory(name):.1f} |", flush=True)


if __name__ == "__main__":
    main()
