"""Evaluates a trained bridge: python evaluate.py [sampler=dbim] [nfe=20] [key=value]; --help."""

import json
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from dbim_lightning.data import spread
from dbim_lightning.data.configured import require_complete
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation import Evaluator, report, sheets
from dbim_lightning.evaluation.rows import describe
from dbim_lightning.training.checkpoint import newest_checkpoint
from dbim_lightning.weights import build_denoiser, load_weights, read_bridge

instantiate = partial(hydra_instantiate, _convert_="all")


@cache
def build_evaluator(checkpoint: Path, options: str) -> Evaluator:
    """The same for all jobs of a sweep that share these options (YAML)."""
    cfg = OmegaConf.create(options)
    saved = read_bridge(checkpoint)
    denoiser = build_denoiser(saved.config)
    load_weights(denoiser, saved)
    config = cfg.get("dataset") or OmegaConf.create(saved.config).get("dataset")
    if config is None:
        raise UserError(f"{checkpoint} does not say which data to take: give dataset=NAME")
    device = torch.device(cfg.device or torch.accelerator.current_accelerator(True) or "cpu")
    dataset = instantiate(config)
    data, train_data = spread(dataset(cfg.split), cfg.num_images), dataset("train")
    return Evaluator(
        denoiser.eval().to(device),
        data,
        spread(train_data, min(len(data), len(train_data))),
        instantiate(cfg.features),
        cfg.batch_size,
    )


def evaluate(cfg: DictConfig, folder: Path, choices: dict[str, str]) -> dict[str, Any]:
    """Writes results.json and the pictures of one job into `folder`; returns the row."""
    require_complete(cfg)
    sampler = instantiate(cfg.sampler, nfe=cfg.nfe)
    checkpoint = Path(cfg.weights or cfg.checkpoint or newest_checkpoint(Path(cfg.runs)))
    print(f"Evaluating {checkpoint}")
    options = OmegaConf.masked_copy(
        cfg, ["device", "split", "num_images", "features", "batch_size", "dataset"]
    )
    evaluator = build_evaluator(checkpoint, OmegaConf.to_yaml(options))
    row = {**describe(OmegaConf.to_container(cfg.sampler), choices), "nfe": cfg.nfe}
    row |= {"split": cfg.split, "seed": cfg.seed, "checkpoint": str(checkpoint)}
    row |= evaluator.run(sampler, cfg.seed)
    (folder / "results.json").write_text(json.dumps(row, indent=1))
    sheets.save_job_sheet(folder, evaluator.preview(sampler, [cfg.seed + i for i in range(3)]))
    return row


class Summary(Callback):
    """Keeps the summary of a sweep up to date after each job, and prints it at the end."""

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if config.hydra.mode == RunMode.MULTIRUN and list(folder.rglob("results.json")):
            report.summarise(folder)
            sheets.save_sweep_sheet(folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        print((folder / "summary.md").read_text())
        print(f"Table: {folder / 'summary.md'} (and .csv)")
        print(f"Plot: {folder / 'summary.png'}, images: {folder / 'images.png'}")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    folder = Path(os.path.relpath(job.runtime.output_dir))
    row = evaluate(cfg, folder, job.runtime.choices)
    if job.mode == RunMode.RUN:
        print(report.table([row]))
        print(f"Results: {folder / 'results.json'}, images: {folder / 'images.png'}")


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors(HydraException, OSError):
        main()
