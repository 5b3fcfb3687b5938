"""What Fréchet distance and KID cost: python -m benchmarks.distances.

Features are random and correlated, with variances that fall over six decades. Prints the seconds
that moments take for 1,000 images, in batches of 64; of the Fréchet distance of two sets of 50,000
images from their moments, beside that of the textbook formula by SciPy's sqrtm; and of KID over
the 10,000 images that are kept.
"""

import os
import platform
import time
from collections.abc import Callable

import scipy.linalg
import torch
from torch import Tensor

from dbim_lightning.evaluation.features.moments import KEPT_IMAGES, Moments, mean_and_covariance
from dbim_lightning.evaluation.metrics.distances import frechet_distance_of_moments, kernel_distance

IMAGES, BATCH = 50_000, 64
SIZES = (512, 1024, 2048)


def seconds(run: Callable[[], object]) -> tuple[float, object]:
    """How long a run takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def features(n: int, d: int, seed: int) -> Tensor:
    """(n, d) float32, correlated, standard deviations 1 to 1e-3, about a mean of 0.4."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    scale = torch.logspace(0, -3, d)
    return torch.randn(n, d, generator=generator) * scale @ mix + 0.4


def moments(rows: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    sums = Moments(rows.shape[1])
    for part in rows.split(batch):
        sums.update(part)
    return mean_and_covariance(sums.sums())


def textbook(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The formula as it is written, by a matrix square root."""
    root = torch.as_tensor(scipy.linalg.sqrtm((cov_a @ cov_b).numpy())).real
    return float((mean_a - mean_b).square().sum() + (cov_a + cov_b - 2 * root).trace())


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads\n")
    rows = features(1000, SIZES[-1], 0)
    took, _ = seconds(lambda: moments(rows, BATCH))
    print(f"Moments, d = {SIZES[-1]}: {took:.2f} s per 1,000 images in batches of {BATCH}\n")
    print("| d | Fréchet distance, s | by sqrtm, s | relative difference |")
    print("| ---: | ---: | ---: | ---: |")
    for d in SIZES:
        sets = [moments(features(IMAGES, d, seed), IMAGES // 10) for seed in (0, 1)]
        fast, value = seconds(lambda s=sets: frechet_distance_of_moments(*s[0], *s[1]))
        slow, expected = seconds(lambda s=sets: textbook(*s[0], *s[1]))
        error = abs(value / expected - 1)
        print(f"| {d} | {fast:.2f} | {slow:.2f} | {error:.0e} |", flush=True)
    pair = [features(KEPT_IMAGES, SIZES[-1], seed) for seed in (0, 1)]
    took, _ = seconds(lambda: kernel_distance(*pair))
    print(f"\nKID, d = {SIZES[-1]}, {KEPT_IMAGES} images each: {took:.1f} s")


if __name__ == "__main__":
    main()
