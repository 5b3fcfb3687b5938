"""How fast data comes: python -m benchmarks.data.

Training pairs of 64x64 per second, flipped and in batches of 64, from JPEG strips of 512x256 that
are decoded each time, and from the same strips packed.
"""

import os
import platform
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dbim_lightning.data import PackedPairs, PairedFolder
from dbim_lightning.data.packed import pack
from dbim_lightning.training.datamodule import RandomFlip
from dbim_lightning.training.stream import ShuffledStream

STRIPS, BATCH, SECONDS = 1000, 64, 8.0


def write_strips(folder: Path) -> None:
    """Left the outlines, right a smooth coloured shape on white, as JPEGs of about 25 kB."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(STRIPS):
        small = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        photo = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC)).astype(float)
        photo = (photo + random.normal(0, 6, photo.shape)).clip(0, 255).astype(np.uint8)
        slope = np.abs(np.diff(photo.mean(axis=2), axis=1, append=255))
        edges = np.where(slope > 12, 0, 255).astype(np.uint8)
        strip = np.concatenate([np.stack([edges] * 3, axis=2), photo], axis=1)
        Image.fromarray(strip).save(folder / f"{i}_AB.jpg", quality=90)


def pairs_per_second(data: Dataset, workers: int) -> float:
    """Of a loader as training has it, after its workers have started."""
    stream = ShuffledStream(len(data), seed=0)
    batches = iter(DataLoader(RandomFlip(data), BATCH, sampler=stream, num_workers=workers))
    for _ in islice(batches, 2 * max(workers, 1)):
        pass
    start, pairs = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        pairs += len(next(batches)["x_0"])
    return pairs / (time.perf_counter() - start)


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        write_strips(Path(folder) / "strips/train")
        decoded = PairedFolder("train", Path(folder) / "strips", image_size=64, fit="squash")
        pack(decoded, Path(folder) / "packed/train")
        packed = PackedPairs("train", Path(folder) / "packed")
        print("| workers | decoded, pairs/s | packed, pairs/s | ratio | packed, per core |")
        print("|---:|---:|---:|---:|---:|")
        for workers in (0, 1, 2):
            slow, fast = (pairs_per_second(data, workers) for data in (decoded, packed))
            per_core = fast / max(workers, 1)
            print(f"| {workers} | {slow:.0f} | {fast:.0f} | {fast / slow:.1f} | {per_core:.0f} |")


if __name__ == "__main__":
    main()
