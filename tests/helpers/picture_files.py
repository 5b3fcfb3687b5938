"""Image files of known pixels, and pairs of them in the layouts of `PairedFolder`."""

import csv
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def tensors(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def some_pairs(number: int, height: int = 16, width: int = 16) -> dict[str, np.ndarray]:
    """name -> (source, target); half of them in a folder."""
    names = [f"{'deep/' if i % 2 else ''}{i:03}" for i in range(number)]
    return {name: picture(2, height, width, 3, seed=i) for i, name in enumerate(names)}


def as_strips(folder: Path, pairs: dict[str, np.ndarray], reverse: bool = False) -> Path:
    for name, pair in pairs.items():
        save(folder / f"{name}.png", np.hstack(pair[::-1] if reverse else pair))
    return folder


def as_folders(source: Path, target: Path, pairs: dict[str, np.ndarray]) -> None:
    for name, pair in pairs.items():
        save(source / f"{name}.png", pair[0])
        save(target / f"{name}.bmp", pair[1])


def as_table(path: Path, rows: list[tuple], header: str = "source,target") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def hashed(name: str) -> str:
    residue = int(sha256(name.encode()).hexdigest()[:8], 16) % 20
    return "test" if residue < 2 else "validation" if residue == 2 else "train"
