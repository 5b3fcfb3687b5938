"""How diverse samples are beside the data: python -m benchmarks.diversity checkpoint=PATH

Takes the test sources that have six or more targets: of OpenMoji the drawings that the artist has
coloured so often, of skin mostly. Six samples of each, with six noises, are set beside six targets.
Words say which bridge and which data, as for evaluate.py.
"""

import sys
from collections import defaultdict
from functools import partial

import torch
from omegaconf import OmegaConf
from rich.progress import track
from torch.utils.data import Dataset, default_collate

from dbim_lightning import config
from dbim_lightning.bridge import BridgeDenoiser, device_named
from dbim_lightning.data import Pair
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation.features import EfficientNetLite0
from dbim_lightning.evaluation.images import images_of
from dbim_lightning.evaluation.metrics import Diversity
from dbim_lightning.evaluation.origin import named_bridge, named_data
from dbim_lightning.options import EVALUATE
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import DBIM, DDBM, ECSI, DBMSolver, KarrasSigma, Sampler, draw

COLOURS, NFE = 6, (5, 10, 20)


SIGMA = KarrasSigma()
SAMPLERS = {  # title -> NFE -> sampler
    "`dbim`, eta 0": DBIM,
    "`dbim`, eta 1": partial(DBIM, eta=1.0),
    "`dbim`, eta 0, sigma grid": partial(DBIM, grid=SIGMA),
    "`dbim`, eta 0, sigma grid, order 2": partial(DBIM, grid=SIGMA, order=2),
    "`dbim`, eta 1, sigma grid": partial(DBIM, grid=SIGMA, eta=1.0),
    "`dbim_fast`": partial(DBIM, grid=SIGMA, eta=6.0),
    "`dbm_solver`": DBMSolver,
    "`ecsi`": ECSI,
    "`ddbm`": DDBM,
}


def coloured_often(pairs: Dataset) -> list[list[Pair]]:
    """The pairs of each source.

    Raises:
        UserError: none has so many.
    """
    of_source = defaultdict(list)
    for i in range(len(pairs)):
        of_source[to_uint8(pairs[i]["x_T"]).numpy().tobytes()].append(pairs[i])
    often = [found[:COLOURS] for found in of_source.values() if len(found) >= COLOURS]
    if not often:
        raise UserError(f"no source of these data has {COLOURS} targets: take others, or OpenMoji")
    return often


def row(batch: Pair, samples: torch.Tensor) -> str:
    """Numbers of samples (K, B, 3, H, W) in [-1, 1]."""
    metric = Diversity(EfficientNetLite0(), COLOURS)
    metric.reset(len(batch["index"]))
    metric.update(images_of(range(len(batch["index"])), batch, to_uint8(samples)))
    afd, vendi, std = metric.compute(metric.sums()).values()
    return f"{afd:.2f} | {vendi:.3f} | {std:.4f} |"


def sampled(denoiser: BridgeDenoiser, sampler: Sampler, batch: Pair) -> torch.Tensor:
    return torch.stack([draw(denoiser, sampler, batch, seed).cpu() for seed in range(COLOURS)])


def main() -> None:
    cfg = config.configured("evaluate", sys.argv[1:], EVALUATE)
    bridge = named_bridge(cfg, device_named(cfg.device))
    denoiser = bridge.denoiser
    data = config.instantiate(OmegaConf.create(named_data(cfg, bridge)))
    drawings = coloured_often(data("test"))
    batch = default_collate([pairs[0] for pairs in drawings])
    own = [torch.stack([pair["x_0"] for pair in pairs]) for pairs in drawings]
    lines = [f"| the artist's own | – | {row(batch, torch.stack(own, dim=1))}"]
    for name in track(SAMPLERS, "Sampling"):
        for nfe in NFE:
            sampler = SAMPLERS[name](nfe)
            try:
                numbers = row(batch, sampled(denoiser, sampler, batch))
            except UserError as error:
                print(f"{name} is left out: {error}")
                break
            lines.append(f"| {name} | {sampler.calls} | {numbers}")
    print(f"{len(drawings)} drawings, {COLOURS} samples of each, {denoiser.precision}\n")
    print("| sampler | NFE | AFD ↑ | Vendi ↑ | pixel std ↑ |\n| --- | ---: | ---: | ---: | ---: |")
    print("\n".join(lines))


if __name__ == "__main__":
    with one_line_errors():
        main()
