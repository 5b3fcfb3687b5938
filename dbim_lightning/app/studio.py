"""A bridge, its samplers, and what the page asks of them; without the page."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from dbim_lightning import config
from dbim_lightning.app import drawings
from dbim_lightning.bridge import BridgeDenoiser, device_named, precision_on
from dbim_lightning.composing import compose
from dbim_lightning.errors import UserError
from dbim_lightning.networks import require_pairs
from dbim_lightning.options import EVALUATE
from dbim_lightning.resolvers import CONF
from dbim_lightning.samplers import ImageNoise, Sampler, State, interpolate
from dbim_lightning.samplers.sampler import Noise, OnStep
from dbim_lightning.values import Range, converted
from dbim_lightning.weights import local_file, read_denoiser, read_samplers, restored

IMAGE_SIZE = Annotated[int, Range(1, 2048)]
NOISES, BETWEEN, SHOWN = 4, 8, 8  # pictures side by side: noises, on a way between two, states


class Settings(NamedTuple):
    """Of the page: choice of sampler, its NFE and eta, and the seed of the noise."""

    sampler: str
    nfe: int
    eta: float
    seed: int


@dataclass(frozen=True)
class Studio:
    """Draws for the page. A drawing is what the pad holds: a data URL, or "" for a white page.

    Attributes:
        name: of the bridge's file.
        size: of its pictures.
        samplers: their configurations, by the names of `sampler=`.
    """

    denoiser: BridgeDenoiser
    name: str
    size: int
    samplers: dict[str, DictConfig]

    def eta(self, sampler: str) -> float | None:
        """That of a sampler's configuration, None if it has none."""
        return self.samplers[sampler].get("eta")

    def draw(self, drawing: str, settings: Settings) -> tuple[Image.Image, str, Image.Image]:
        """The picture, what it took, and the way to it: states above, estimates below."""
        states: list[State] = []

        def keep(_: int, *state: Any) -> None:
            states.append(State(*state))

        x_0, took = self._timed(drawing, self._sampler(settings), settings.seed, keep)
        picks = torch.linspace(0, len(states) - 1, min(SHOWN, len(states))).round().int().tolist()
        rows = [torch.cat([getattr(states[i], of).cpu() for i in picks]) for of in ("x", "x_0_hat")]
        return drawings.picture(x_0[0]), took, drawings.strip(rows)

    def noises(self, drawing: str, settings: Settings) -> Image.Image:
        """Pictures of four noises, the first of which is that of `draw`."""
        noise = ImageNoise(settings.seed, range(NOISES))
        return drawings.strip([self._sample(drawing, self._sampler(settings), noise, NOISES)])

    def between(self, drawing: str, settings: Settings, first: int, second: int) -> Image.Image:
        """From the picture of one of the four noises (0 to 3) to that of another.

        All noise is interpolated, so that both ends are what `noises` shows, whatever eta is.
        """
        ends = [ImageNoise(settings.seed, [index]) for index in (first, second)]
        weights = torch.linspace(0, 1, BETWEEN).tolist()

        def noise(x: Tensor) -> Tensor:
            return interpolate(*(end(x[:1]) for end in ends), weights)[:, 0]

        return drawings.strip([self._sample(drawing, self._sampler(settings), noise, BETWEEN)])

    def compare(self, drawing: str, settings: Settings, other: str) -> tuple[Image.Image, str]:
        """The picture of another sampler, at its own eta, on the same noise, and what it took."""
        eta = self.eta(other) or 0.0
        sampler = self._sampler(settings._replace(sampler=other, eta=eta))
        x_0, took = self._timed(drawing, sampler, settings.seed)
        return drawings.picture(x_0[0]), took

    def _sampler(self, settings: Settings) -> Sampler:
        node = self.samplers[settings.sampler].copy()
        if node.get("eta") is not None:
            node.eta = settings.eta
        return config.make_sampler(node, settings.nfe)

    def _timed(
        self, drawing: str, sampler: Sampler, seed: int, on_step: OnStep | None = None
    ) -> tuple[Tensor, str]:
        start = time.perf_counter()
        x_0 = self._sample(drawing, sampler, ImageNoise(seed, [0]), 1, on_step)
        return x_0, f"{sampler.calls} network calls, {time.perf_counter() - start:.2f} s"

    def _sample(
        self,
        drawing: str,
        sampler: Sampler,
        noise: Noise,
        count: int,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """(count, 3, size, size) in [-1, 1] on the CPU, all of one drawing."""
        denoiser = self.denoiser
        x_T = drawings.source(drawing, self.size).to(denoiser.device).expand(count, -1, -1, -1)
        # Autocast forgets the weights that it has cast where the outermost of its contexts ends.
        with torch.autocast(denoiser.device.type, enabled=False):
            x_0 = sampler.sample(denoiser, denoiser.schedule, x_T, noise, on_step=on_step)
        return x_0.cpu()


def open_studio(weights: str, image_size: int | None, trusted: Collection[str] = ()) -> Studio:
    """The bridge of a weights file or checkpoint, on the best device there is.

    Args:
        image_size: where the file does not say it.
        trusted: modules of the user's own that the file may name.

    Raises:
        UserError: no such bridge, or one that takes more than a picture.
    """
    path = local_file(weights)
    saved = read_denoiser(path, trusted=trusted)
    dataset = saved.config.get("dataset") or {}
    if "inpaint" in str(dataset.get("corruption")):
        raise UserError(f"{path} fills holes, and the page has no masks: use evaluate.py")
    size = image_size or dataset.get("image_size")
    if size is None:
        raise UserError(f"{path} does not say the size of its pictures: give image_size=64, say")
    size = converted("image_size", size, IMAGE_SIZE)
    device = device_named(None)
    denoiser = restored(saved).to(device)
    denoiser.precision = precision_on(device, "auto")
    if getattr(denoiser.network, "num_classes", None) is not None:
        raise UserError(f"{path} needs labels, and the page has none: use evaluate.py")
    require_pairs(denoiser.network, [{"x_0": torch.empty(3, size, size)}])
    return Studio(denoiser, path.name, size, _samplers(path))


def _samplers(path: Path) -> dict[str, DictConfig]:
    """Of conf/sampler; "recommended" where a file carries one."""
    names = sorted(file.stem for file in (CONF / "sampler").glob("*.yaml"))
    if path.suffix != ".safetensors" or not read_samplers(path)["samplers"]:
        names.remove("recommended")
    samplers = {}
    for name in names:
        cfg = compose("evaluate", [f"sampler={name}"])
        cfg.weights = str(path)
        samplers[name] = config.checked(cfg, EVALUATE).sampler
    return samplers
