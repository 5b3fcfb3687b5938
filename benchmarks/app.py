"""How long a line takes to its picture on the page: python -m benchmarks.app.

Serves a bridge of 64 px with random weights (2.7 M parameters), draws strokes in a headless
Chromium, and prints the time from the end of each to its picture, and from picture to picture
while a long line is drawn, at NFE 5.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from omegaconf import OmegaConf
from playwright.sync_api import Page, sync_playwright

from dbim_lightning.composing import compose
from dbim_lightning.weights import SavedDenoiser, build_denoiser, write_denoiser

WORDS = [
    "dataset.image_size=64",
    "network.model_channels=32",
    "network.channel_mult=[1,2,2,3]",
    "network.attention_resolutions=[4,8]",
    "network.num_res_blocks=1",
]
STROKES = 20
PICTURES = """
window.pictures = [];
const changes = { subtree: true, attributes: true, attributeFilter: ["src"] };
const keep = new MutationObserver(() => window.pictures.push(performance.now()));
keep.observe(document.querySelector("#picture"), changes);
const canvas = document.querySelector("canvas");
canvas.addEventListener("pointerup", () => (window.end = performance.now()));
"""


def write_bridge(path: Path) -> None:
    cfg = compose("train", WORDS)
    config = {
        key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("denoiser", "dataset")
    }
    weights = build_denoiser(config).state_dict()
    for weight in weights.values():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    write_denoiser(path, SavedDenoiser(path, config, weights, 0))


def stroke(page: Page, y: float, steps: int) -> None:
    """A line across the pad, in so many moves of 20 ms."""
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + y * box["height"])
    page.mouse.down()
    for i in range(steps):
        page.mouse.move(box["x"] + 50 + 350 * i / steps, box["y"] + y * box["height"])
        page.wait_for_timeout(20)
    page.mouse.up()


def measure(page: Page) -> tuple[list[float], list[float]]:
    """Milliseconds from the end of short strokes to their picture, and between those of a line."""
    page.evaluate(PICTURES)
    after = []
    for i in range(STROKES):
        stroke(page, (i + 1) / (STROKES + 1), 3)
        page.wait_for_timeout(1500)
        after.append(page.evaluate("window.pictures.at(-1) - window.end"))
        page.evaluate("window.pictures = []")
    stroke(page, 0.5, 250)
    pictures = page.evaluate("window.pictures")
    return after, [later - t for t, later in pairwise(pictures)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        write_bridge(Path(folder) / "bridge.safetensors")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        words = [f"weights={folder}/bridge.safetensors", f"port={port}"]
        command = [sys.executable, "-m", "dbim_lightning.app", *words]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as server,
            sync_playwright() as driver,
            driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            ) as browser,
        ):
            server.stdout.readline()
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("#picture img", timeout=60_000)
            after, between = map(torch.tensor, measure(page))
            told = page.locator("#told .html-container").inner_text()
            server.send_signal(signal.SIGINT)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {told}")
    for what, times in {"from the end of a stroke": after, "between two pictures": between}.items():
        print(f"{what}: median {times.median():.0f} ms, longest {times.max():.0f} ms")


if __name__ == "__main__":
    main()
