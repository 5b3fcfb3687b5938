"""Booting noises as codes: python -m dbim_lightning.evaluation.latents checkpoint=PATH -o DIR

Test images and samples of a bridge are encoded at each NFE, by explicit and by exact steps, with
estimates clipped and not, and decoded again. DIR gets latents.md and latents.json, which say how
near the images come back and whether their codes are standard normal, and four pictures:
reconstructions, ways between two codes, codes on other sources, and sources that were changed.
"""

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dbim_lightning import config
from dbim_lightning.bridge import BridgeDenoiser, device_named
from dbim_lightning.commands import calls
from dbim_lightning.data import Pair, spread
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation.features.network import FeatureNetwork
from dbim_lightning.evaluation.images import BLOCK
from dbim_lightning.evaluation.latent_pictures import save_pictures, save_reconstructions
from dbim_lightning.evaluation.metrics import FeatureDistance
from dbim_lightning.evaluation.origin import device_name, named_bridge, named_data
from dbim_lightning.files import finite, write_json, write_whole, writing
from dbim_lightning.options import EVALUATE
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import DBIM, ImageNoise, inputs
from dbim_lightning.samplers.latents import decode, encode

# Words for what the command line leaves out, by what it has in their place. Half precision is too
# coarse to be inverted.
DEFAULTS = {
    "sampler/grid=": "sampler/grid=sigma",
    "precision=": "precision=float32",
}
IMAGES, SHOWN = 64, 12  # that are encoded unless told otherwise, and that are in pictures
FIGURES = {  # key of a row -> title of its column, digits
    "calls": ("calls", 0),
    "psnr": ("PSNR, dB ↑", 1),
    "mse": ("MSE × 10³ ↓", 3),
    "features": ("feature distance ↓", 2),
    "missed": ("missed by", 6),
    "code_error": ("error of the code", 5),
    "mean": ("mean", 3),
    "std": ("std", 3),
    "kurtosis": ("kurtosis", 2),
    "neighbours": ("corr. of neighbours", 3),
    "images": ("corr. of images", 4),
}


class Study(NamedTuple):
    """What is encoded: pairs, also in batches, by a bridge, judged in the features of a network."""

    denoiser: BridgeDenoiser
    sampler: DBIM
    data: Dataset
    batches: list[Pair]
    network: FeatureNetwork | None
    seed: int


class Coded(NamedTuple):
    """Images, the codes that were found for them, and what these are decoded to; all (N, C, H, W).

    calls: of the network, for a batch. missed: what a step missed an image by, at most.
    """

    images: Tensor
    eps: Tensor
    again: Tensor
    calls: float
    missed: float


def drawn(study: Study, sampler: DBIM, batch: Pair) -> Tensor:
    """The last states of samples, of which a code is exact, before they are clamped."""
    x_T, options = inputs(study.denoiser, batch)
    states: list[Tensor] = []
    noise = ImageNoise(study.seed, batch["index"].tolist())
    bridge = (study.denoiser, study.denoiser.schedule)
    sampler.sample(*bridge, x_T, noise, on_step=lambda *step: states.append(step[2]), **options)
    return states[-1].cpu()


def coded(study: Study, sampler: DBIM, states: Sequence[Tensor], exact: bool) -> Coded:
    """Encodes batches of states at t_min, and decodes them."""
    bridge, found = (study.denoiser, study.denoiser.schedule), []
    for batch, state in zip(study.batches, states, strict=True):
        x_T, options = inputs(study.denoiser, batch)
        code = encode(*bridge, state.to(x_T), x_T, sampler, exact=exact, **options)
        again = decode(*bridge, code, x_T, sampler, **options)
        found.append((code.eps.cpu(), again.cpu(), code.calls, code.residual.max().item()))
    eps, again, counts, missed = zip(*found, strict=True)
    images, mean_calls = torch.cat(list(states)).clamp(-1, 1), sum(counts) / len(counts)
    return Coded(images, torch.cat(eps), torch.cat(again), mean_calls, max(missed))


def figures(study: Study, of: Coded, eps: Tensor | None = None) -> dict[str, float]:
    """The numbers of a row, of the holes alone where the data have masks.

    Args:
        eps: the noises that the images were made with, if they were.
    """
    hole = torch.cat([b.get("mask", torch.ones_like(b["x_0"])) for b in study.batches])
    hole = hole.expand_as(of.eps) > 0
    error = (of.again - of.images).double().square() * hole
    mse = error.sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3))
    found = {
        "calls": of.calls,
        "psnr": (10 * (4 / mse).log10()).mean().item(),
        "mse": 1e3 * mse.mean().item(),
        **({} if math.isnan(of.missed) else {"missed": of.missed}),
        **statistics(of.eps, hole),
    }
    if study.network is not None:
        features = (features_of(study, images) for images in (of.images, of.again))
        found["features"] = torch.sub(*features).norm(dim=1).mean().item()
    if eps is not None:
        found["code_error"] = (of.eps - eps)[hole].square().mean().sqrt().item()
    return found


def features_of(study: Study, images: Tensor) -> Tensor:
    """Of images in [-1, 1], (N, d) on the CPU."""
    parts = to_uint8(images).split(BLOCK)
    return torch.cat([study.network(part.to(study.denoiser.device)).cpu() for part in parts])


def statistics(eps: Tensor, hole: Tensor) -> dict[str, float]:
    """Of codes (N, C, H, W), N >= 2, in the hole; standard normal ones have 0, 1, 3, 0, 0.

    Mean, deviation and kurtosis of all values; the correlations of values beside and below one
    another, and of two images.
    """
    x = eps.double()
    mean, std = x[hole].mean(), x[hole].std()
    z = (x - mean) / std * hole
    beside = (z[..., 1:] * z[..., :-1])[hole[..., 1:] & hole[..., :-1]]
    below = (z[..., 1:, :] * z[..., :-1, :])[hole[..., 1:, :] & hole[..., :-1, :]]
    directions = torch.nn.functional.normalize(z.flatten(1), dim=1)
    n, together = len(x), directions.sum(dim=0).square().sum()
    return {
        "mean": mean.item(),
        "std": std.item(),
        "kurtosis": z[hole].pow(4).mean().item(),
        "neighbours": torch.cat([beside, below]).mean().item(),
        "images": ((together - n) / (n * (n - 1))).item(),
    }


def measured(study: Study, sampler: DBIM) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Rows for both ways to encode, of test images and of samples, and what test images come back
    as, by "exact" and "explicit"."""
    rows, again = [], {}
    targets = [batch["x_0"] for batch in study.batches]
    samples = [drawn(study, sampler, batch) for batch in study.batches]
    noises = [ImageNoise(study.seed, b["index"].tolist())(b["x_T"]) for b in study.batches]
    for steps in ("exact", "explicit"):
        of_targets = coded(study, sampler, targets, steps == "exact")
        of_samples = coded(study, sampler, samples, steps == "exact")
        way = {"nfe": sampler.nfe, "clip": sampler.clip_denoised, "steps": steps}
        rows.append({**way, "images": "test", "figures": figures(study, of_targets)})
        numbers = figures(study, of_samples, torch.cat(noises))
        rows.append({**way, "images": "samples", "figures": numbers})
        again[steps] = of_targets.again
    return rows, again


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    keys = [key for key in FIGURES if any(key in row["figures"] for row in rows)]
    titles = ["images", "clipped", "steps", "NFE", *(FIGURES[key][0] for key in keys)]
    lines = [titles, ["---", "---", "---", *["---:"] * (len(keys) + 1)]]
    for row in sorted(
        rows, key=lambda row: (row["images"] != "test", not row["clip"], row["steps"])
    ):
        numbers = row["figures"]
        cells = [f"{numbers[key]:.{FIGURES[key][1]}f}" if key in numbers else "–" for key in keys]
        lines.append(
            [row["images"], "yes" if row["clip"] else "no", row["steps"], str(row["nfe"]), *cells]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def make_study(words: list[str], nfes: list[int]) -> tuple[Study, dict[str, Any]]:
    """Reads the bridge and its data; and what the rows depend on, as plain data.

    Raises:
        UserError: from either, or a sampler that has no code or does not take the schedule.
    """
    if any(word.startswith(("samples=", "save_images=")) for word in words):
        raise UserError("codes are of the data and of own samples: leave samples, save_images out")
    own = [word for key, word in DEFAULTS.items() if not any(w.startswith(key) for w in words)]
    cfg = config.configured("evaluate", [*own, *words], EVALUATE)
    sampler = config.make_sampler(cfg.sampler, 2)
    if not isinstance(sampler, DBIM) or sampler.eta != 0 or sampler.order != 1:
        raise UserError(f"{sampler}: choose sampler=dbim at eta 0 and order 1, whose steps go back")
    device = device_named(cfg.device)
    bridge = named_bridge(cfg, device)
    for nfe in nfes:
        replace(sampler, nfe=nfe).require(bridge.denoiser.schedule)
    protocol = config.instantiate(cfg.metrics)
    networks = [m.network for m in protocol.metrics if isinstance(m, FeatureDistance)]
    dataset = named_data(cfg, bridge)
    data = config.instantiate(OmegaConf.create(dataset))(protocol.split)
    data = spread(data, cfg.num_images or min(IMAGES, len(data)))
    batches = list(DataLoader(data, cfg.batch_size))
    network = networks[0].to(device) if networks else None
    asked = {
        "checkpoint": str(bridge.path),
        "checkpoint_sha256": bridge.sha256,
        "split": protocol.split,
        "num_images": len(data),
        "dataset": dataset,
        "batch_size": cfg.batch_size,
        "seed": cfg.seed,
        "grid": str(sampler.grid),
        "features": network and network.name,
        "precision": bridge.denoiser.precision,
        "device": device_name(device),
    }
    return Study(bridge.denoiser, sampler, data, batches, network, cfg.seed), asked


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.evaluation.latents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help="as of an evaluation")
    parser.add_argument("-o", type=Path, required=True, metavar="DIR", help="numbers and pictures")
    options = parser.parse_intermixed_args()
    nfes = list(dict.fromkeys(calls(options.words, [5, 10, 20, 50, 100])))
    words = [word for word in options.words if not word.startswith("nfe=")]
    study, asked = make_study(words, nfes)
    with writing(options.o):
        options.o.mkdir(parents=True, exist_ok=True)
    # What steps miss stands in the table.
    logging.getLogger(encode.__module__).setLevel(logging.ERROR)
    shown = torch.linspace(0, len(study.data) - 1, min(SHOWN, len(study.data))).long()
    batch = default_collate([study.data[i] for i in shown.tolist()])
    pictured = replace(study.sampler, nfe=sorted(nfes)[len(nfes) // 2])
    save_pictures(options.o, study.denoiser, pictured, batch, study.seed)
    rows, again = [], {}
    settings = [(nfe, clip) for nfe in nfes for clip in (True, False)]
    for nfe, clip in track(settings, "Encoding and decoding"):
        found, images = measured(study, replace(study.sampler, nfe=nfe, clip_denoised=clip))
        rows += found
        if clip == study.sampler.clip_denoised:
            again |= {f"{way},\nNFE {nfe}": of[shown] for way, of in images.items()}
            save_reconstructions(options.o, batch, again)
        write_json(options.o / "latents.json", finite({**asked, "rows": rows}), indent=1)
        write_whole(options.o / "latents.md", table(rows))
    print(table(rows))
    print(f"Pictures and numbers: {options.o}")


if __name__ == "__main__":
    with one_line_errors():
        main()
