"""Evaluates a trained bridge: python evaluate.py [sampler=dbim] [nfe=20] [key=value]; --help."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from dbim_lightning.data.configured import require_complete
from dbim_lightning.errors import UserError, cause_of, one_line_errors
from dbim_lightning.evaluation import report, sheets
from dbim_lightning.evaluation.assemble import assemble, own_settings, typed
from dbim_lightning.evaluation.processes import of_the_first, rank_and_world_size
from dbim_lightning.evaluation.rows import describe
from dbim_lightning.evaluation.shards import write_whole
from dbim_lightning.training.checkpoint import newest_checkpoint

instantiate = partial(hydra_instantiate, _convert_="all")
DONE: set[str] = set()
SHARED = ["device", "num_images", "metrics", "batch_size", "dataset", "folder"]


def evaluate(cfg: DictConfig, folder: Path, job: DictConfig) -> dict[str, Any] | None:
    """Writes results.json and pictures into `folder`; returns the row, or None if done before."""
    require_complete(cfg := typed(cfg))
    if cfg.save_images not in (None, "png"):
        raise UserError(f"save_images={cfg.save_images}: give png, or leave it out")
    options = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, SHARED))
    words = [word.lstrip("+") for word in job.overrides.task]
    own = [word.removeprefix("metrics.") for word in words if word.startswith("metrics.")]
    metrics = " ".join([(choices := job.runtime.choices)["metrics"], *own])
    row = {"metrics": metrics, "split": cfg.metrics.split, "seed": cfg.seed}
    png = folder / "samples" if cfg.save_images else None
    if cfg.samples:
        evaluator = assemble(None, options, instantiate)
        row |= {"sampler": str(cfg.samples), "nfe": cfg.nfe}
        row |= evaluator.run_given(Path(cfg.samples), png)
    else:
        sampler = instantiate(config := own_settings(cfg.sampler), nfe=cfg.nfe)
        settings = {**OmegaConf.to_container(config), "nfe": cfg.nfe}
        checkpoint = Path(cfg.weights or cfg.checkpoint or newest_checkpoint(Path(cfg.runs)))
        row = {**describe(settings, choices), **row, "checkpoint": str(checkpoint)}
        if (key := json.dumps([settings, row, options])) in DONE:
            return print(f"skipped: done before, as {row['sampler']} has not all that varies")
        DONE.add(key)
        print(f"Evaluating {checkpoint}")
        evaluator = assemble(checkpoint, options, instantiate)
        row |= evaluator.run(sampler, cfg.seed, settings, cfg.keep_samples, png)
    if evaluator.rank == 0:
        write_whole(folder / "results.json", json.dumps(row, indent=1).encode())
        previews = {} if cfg.samples else evaluator.preview(sampler, range(cfg.seed, cfg.seed + 3))
        sheets.save_job_sheet(folder, previews or evaluator.given_preview(Path(cfg.samples)))
    return row


class Summary(Callback):
    """Keeps the summary of a sweep up to date after each job, and prints it at the end."""

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        first = config.hydra.mode == RunMode.MULTIRUN and rank_and_world_size()[0] == 0
        if first and list(folder.rglob("results.json")):
            report.summarise(folder)
            sheets.save_sweep_sheet(folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.on_job_end(config)  # jobs that ran side by side may have missed one another
        if rank_and_world_size()[0] == 0:
            report.tell(Path(config.hydra.sweep.dir))


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    folder = Path(of_the_first(os.path.relpath(job.runtime.output_dir)))
    rank, world_size = rank_and_world_size()
    try:
        row = evaluate(cfg, folder, job)
    except (UserError, InstantiationException) as error:
        cause = cause_of(error)
        if job.mode == RunMode.RUN or (cause is error and world_size > 1):  # others may be amid it
            raise SystemExit(f"error: {cause}") from None
        return print(f"skipped: {cause}")
    if job.mode == RunMode.RUN and rank == 0:
        print(f"{report.table([row])}\nResults: {folder}/results.json, images: {folder}/images.png")


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors(HydraException, OSError):
        main()
