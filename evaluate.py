"""Evaluates a trained bridge: python evaluate.py [sampler=dbim] [nfe=20] [key=value]; --help.

What needs torch is imported where it is used, so that --help need not wait for it.
"""

# ruff: noqa: PLC0415
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dbim_lightning import config
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.files import write_whole

if TYPE_CHECKING:
    from dbim_lightning.evaluation import Evaluator

DONE: set[str] = set()
SHARED = ["device", "num_images", "metrics", "batch_size", "dataset", "folder"]


@lru_cache(maxsize=4)  # a sweep over many checkpoints shall not hold all of them
def make_evaluator(checkpoint: Path | None, shared: str) -> "Evaluator":
    """Reads a checkpoint or weights file, and makes the rest as configured.

    The jobs of a sweep that share these arguments share the evaluator.

    Args:
        checkpoint: None where samples are given.
        shared: YAML of the keys in SHARED.
    """
    from dbim_lightning.evaluation import Evaluator
    from dbim_lightning.evaluation.origin import device_named, short_sha256, versions
    from dbim_lightning.weights import read_denoiser, restored

    cfg = OmegaConf.create(shared)
    protocol, device = config.instantiate(cfg.metrics), device_named(cfg.device)
    denoiser, data, origin = None, cfg.get("dataset"), {"versions": versions()}
    if checkpoint is not None:
        saved = read_denoiser(checkpoint)
        denoiser = restored(saved).to(device)
        data = data or OmegaConf.create(saved.config).get("dataset")
        origin["checkpoint_sha256"] = short_sha256(checkpoint)
    if data is None:
        raise UserError(
            f"{checkpoint or 'samples=DIR'} does not say which data to take: give dataset=NAME"
        )
    origin["dataset"] = OmegaConf.to_container(data, resolve=True)
    return Evaluator(
        denoiser,
        config.instantiate(data),
        protocol,
        device,
        cfg.num_images,
        cfg.batch_size,
        Path(cfg.folder),
        origin,
    )


def evaluate(cfg: DictConfig, folder: Path, job: DictConfig) -> dict[str, Any] | None:
    """Writes results.json and pictures into `folder`; returns the row, or None if done before."""
    from dbim_lightning.evaluation import sheets
    from dbim_lightning.evaluation.rows import describe
    from dbim_lightning.samplers import identity
    from dbim_lightning.weights import newest_checkpoint

    config.require_complete(cfg := config.typed(cfg, config.EvaluateValues))
    if cfg.save_images not in (None, "png"):
        raise UserError(f"save_images={cfg.save_images}: give png, or leave it out")
    shared = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, SHARED))
    words = [word.lstrip("+") for word in job.overrides.task]
    own = [word.removeprefix("metrics.") for word in words if word.startswith("metrics.")]
    metrics = " ".join([job.runtime.choices["metrics"], *own])
    row = {"metrics": metrics, "split": cfg.metrics.split, "seed": cfg.seed}
    png = folder / "samples" if cfg.save_images else None
    if cfg.samples:
        evaluator = make_evaluator(None, shared)
        row |= {"sampler": str(cfg.samples), "nfe": cfg.nfe}
        row |= evaluator.run_given(Path(cfg.samples), png)
    else:
        sampler = config.make_sampler(cfg.sampler, cfg.nfe)
        checkpoint = Path(cfg.weights or cfg.checkpoint or newest_checkpoint(Path(cfg.runs)))
        row = {**describe(identity(sampler)), **row, "checkpoint": str(checkpoint)}
        if (key := json.dumps([identity(sampler), row, shared])) in DONE:
            return print(f"skipped: done before, as {row['sampler']} has not all that varies")
        DONE.add(key)
        print(f"Evaluating {checkpoint}")
        evaluator = make_evaluator(checkpoint, shared)
        row |= evaluator.run(sampler, cfg.seed, cfg.keep_samples, png)
    if evaluator.rank == 0:
        write_whole(folder / "results.json", json.dumps(row, indent=1))
        previews = {} if cfg.samples else evaluator.preview(sampler, range(cfg.seed, cfg.seed + 3))
        sheets.save_job_sheet(folder, previews or evaluator.given_preview(Path(cfg.samples)))
    return row


class Summary(Callback):
    """Keeps the summary of a sweep up to date after each job, and prints it at the end."""

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        from dbim_lightning.evaluation import report, sheets
        from dbim_lightning.evaluation.processes import rank_and_world_size

        folder = Path(config.hydra.sweep.dir)
        first = config.hydra.mode == RunMode.MULTIRUN and rank_and_world_size()[0] == 0
        if first and list(folder.rglob("results.json")):
            report.summarise(folder)
            sheets.save_sweep_sheet(folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from dbim_lightning.evaluation import report
        from dbim_lightning.evaluation.processes import rank_and_world_size

        self.on_job_end(config)  # jobs that ran side by side may have missed one another
        if rank_and_world_size()[0] == 0:
            report.tell(Path(config.hydra.sweep.dir))


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    from dbim_lightning.evaluation import report
    from dbim_lightning.evaluation.processes import broadcast, rank_and_world_size

    job = HydraConfig.get()
    config.check_overrides("evaluate", cfg, list(job.overrides.task))
    folder = Path(broadcast(os.path.relpath(job.runtime.output_dir)))
    rank, world_size = rank_and_world_size()
    try:
        row = evaluate(cfg, folder, job)
    except UserError as error:
        others_go_on = world_size > 1 and not isinstance(error, config.ConfigurationError)
        if job.mode == RunMode.RUN or others_go_on:
            raise SystemExit(f"error: {error}") from None
        return print(f"skipped: {error}")
    if job.mode == RunMode.RUN and rank == 0:
        print(f"{report.table([row])}\nResults: {folder}/results.json, images: {folder}/images.png")


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors(OSError), config.one_line_hydra_errors("evaluate"):
        main()
