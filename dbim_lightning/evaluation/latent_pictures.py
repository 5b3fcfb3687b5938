"""Pictures of codes: images that come back, ways between two, other sources, changed sources."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dbim_lightning.bridge import BridgeDenoiser
from dbim_lightning.data import Pair
from dbim_lightning.pictures import save_sheet, to_uint8
from dbim_lightning.samplers import DBIM, ImageNoise, inputs
from dbim_lightning.samplers.latents import decode, encode, interpolate

FEW, WEIGHTS = 6, 8


def save_reconstructions(folder: Path, batch: Pair, again: Mapping[str, Tensor]) -> None:
    """reconstruction.png: targets, and what each way to encode them gives back."""
    rows = {"source": batch["x_T"], "target": batch["x_0"], **again}
    shown = [(label, to_uint8(images)) for label, images in rows.items()]
    save_sheet(folder / "reconstruction.png", shown)


def save_pictures(
    folder: Path, denoiser: BridgeDenoiser, sampler: DBIM, batch: Pair, seed: int
) -> None:
    """What the codes of a batch of targets do, found by exact steps.

    interpolation.png: source, and 8 steps from the target's code to the noise of the seed.
    other_sources.png: the codes of the first targets, a row for each, on the sources of the others.
    changed_sources.png: the lower half of each source is that of the next; on it the target's code,
    and the noise of the seed.
    """
    schedule, (x_T, options) = denoiser.schedule, inputs(denoiser, batch)
    sources, targets = to_uint8(x_T).cpu(), to_uint8(batch["x_0"])
    code = encode(denoiser, schedule, batch["x_0"].to(x_T), x_T, sampler, **options)
    few = min(FEW, len(x_T))

    def decoded(eps: Tensor) -> Tensor:
        images = decode(denoiser, schedule, code.of(eps), x_T, sampler, **options)
        return to_uint8(images).cpu()

    other = ImageNoise(seed, batch["index"].tolist())(x_T)
    weights = torch.linspace(0, 1, WEIGHTS).tolist()
    ways = torch.stack([decoded(eps) for eps in interpolate(code.eps, other, weights)], dim=1)
    rows = [("", torch.cat([sources[i : i + 1], ways[i]])) for i in range(few)]
    save_sheet(folder / "interpolation.png", rows)

    blank = torch.full_like(sources[:1], 255)
    rows = [("source", torch.cat([blank, sources]))]
    for i in range(few):
        images = decoded(code.eps[i : i + 1].expand_as(code.eps))
        rows.append((f"code {i + 1}", torch.cat([targets[i : i + 1], images])))
    save_sheet(folder / "other_sources.png", rows)

    def changed(x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        return torch.cat([x[:, :, :half], x.roll(-1, dims=0)[:, :, half:]], dim=2)

    if "mask" in options:
        options["mask"] = changed(options["mask"])
    x_T = changed(x_T)
    rows = [("source", sources), ("target", targets), ("changed", to_uint8(x_T).cpu())]
    rows += [
        ("target's\ncode", decoded(code.eps)),
        ("another\nnoise", decoded(other)),
    ]
    save_sheet(folder / "changed_sources.png", rows)
