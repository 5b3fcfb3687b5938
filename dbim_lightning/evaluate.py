"""The program that evaluates a trained bridge: evaluate.py in a clone, the command dbim-evaluate.

What needs torch is imported where it is used, so that --help need not wait for it.
"""

# ruff: noqa: PLC0415
import os
import sys
from collections import deque
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dbim_lightning import composing, config, earlier
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.files import tell_once, write_json
from dbim_lightning.options import EVALUATE
from dbim_lightning.resolvers import CONF
from dbim_lightning.sampler_files import require_tuned_for, take_sampler_files

if TYPE_CHECKING:
    import torch

    from dbim_lightning.evaluation import Evaluator, Outcome
    from dbim_lightning.evaluation.origin import Bridge
    from dbim_lightning.evaluation.samples.shards import SampleShards
    from dbim_lightning.samplers import Sampler

LARGE = 2000  # images, from which on samples are kept unless told otherwise


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the last four things that were made: jobs of a sweep share what they have in common."""
    kept: deque[tuple[tuple, Any]] = deque(maxlen=4)

    @wraps(make)
    def made(*arguments: Any) -> Any:
        for known, thing in kept:
            if known == arguments:
                return thing
        kept.append((arguments, make(*arguments)))
        return kept[-1][1]

    return made


@remembered
def make_evaluator(
    dataset: dict[str, Any],
    protocol: dict[str, Any],
    device: "torch.device",
    num_images: int | None,
    folder: Path,
    origin: dict[str, Any],
) -> "Evaluator":
    """The judge of all jobs with one protocol on one data set."""
    from dbim_lightning.evaluation import Evaluator

    protocol = config.instantiate(OmegaConf.create(protocol))
    data = config.instantiate(OmegaConf.create(dataset))
    return Evaluator(data, protocol, device, num_images, folder, origin)


class Job(NamedTuple):
    """What is asked: a bridge with a sampler, or else the files of another program, and a judge.

    asked: the same as plain data, the first half of a row (report/results.py): the job's identity.
    """

    cfg: DictConfig
    bridge: "Bridge | None"
    sampler: "Sampler | None"
    evaluator: "Evaluator"
    asked: dict[str, Any]


def make_job(cfg: DictConfig) -> Job:
    """Reads and makes what the configuration names, cheap things first.

    Raises:
        UserError: from any of them.
    """
    from dbim_lightning.bridge import device_named, precision_on
    from dbim_lightning.data.subset import settled
    from dbim_lightning.evaluation.origin import named_bridge, named_data, versions
    from dbim_lightning.networks import require_pairs

    cfg = config.checked(cfg, EVALUATE)
    config.require_nodes(cfg, ("sampler", "metrics"))
    device = device_named(cfg.device)
    cfg.precision = precision_on(device, cfg.precision)
    bridge = sampler = None
    if cfg.samples is not None and (named := cfg.weights or cfg.checkpoint):
        raise UserError(f"samples={cfg.samples} need no bridge: leave {named} out")
    if cfg.samples is None:
        sampler = config.make_sampler(cfg.sampler, cfg.nfe)
        bridge = named_bridge(cfg, device)
        require_tuned_for(OmegaConf.to_container(cfg.sampler), bridge.schedule)
        sampler.require(bridge.denoiser.schedule)
    dataset = named_data(cfg, bridge)
    plain = OmegaConf.to_container(cfg)
    data = {"dataset": dataset, "versions": versions()}
    judged = (dataset, plain["metrics"], device, cfg.num_images, Path(cfg.folder), data)
    evaluator = make_evaluator(*judged)
    if bridge:
        require_pairs(bridge.denoiser.network, evaluator.data)
        training = {key: bridge.config.get(key) for key in ("dataset", "statistics")}
        found = dataset | settled(evaluator.data)
        here = {"dataset": found, "statistics": plain.get("statistics")}
        if differences := earlier.differences(here, training):
            data = data | {"differs_from_training": differences}
            tell_once(f"note: these data differ from those of the training: {differences}")
    return Job(cfg, bridge, sampler, evaluator, asked_of(plain, bridge, sampler, evaluator, data))


def asked_of(
    cfg: dict[str, Any],
    bridge: "Bridge | None",
    sampler: "Sampler | None",
    evaluator: "Evaluator",
    data: dict[str, Any],
) -> dict[str, Any]:
    """The identity of a job: that half of its row which is known before it runs."""
    from dbim_lightning.evaluation.origin import device_name
    from dbim_lightning.evaluation.report.results import plain
    from dbim_lightning.samplers import identity

    asked = {
        "protocol": {key: value for key, value in cfg["metrics"].items() if key != "_target_"},
        "sampler": cfg["samples"],
        "nfe": cfg["nfe"],
        "seed": cfg["seed"] if bridge else None,
        "num_images": len(evaluator.data),
        "origin": data,
    }
    if bridge:
        settings = identity(sampler)
        asked["sampler"] = {key: value for key, value in settings.items() if key != "nfe"}
        asked["origin"] = {
            "checkpoint": str(bridge.path),
            "checkpoint_sha256": bridge.sha256,
            "precision": cfg["precision"],
            "batch_size": cfg["batch_size"],
            "device": device_name(evaluator.device),
            **data,
        }
    return plain(asked)


def run(job: Job, png: Path | None) -> "Outcome":
    """What comes out of a job; its samples go to the folder `png` as well, if there is one."""
    if not job.bridge:
        return job.evaluator.given(Path(job.cfg.samples), png)
    generation = job.evaluator.generation(
        job.bridge.denoiser, job.sampler, job.cfg.seed, job.cfg.batch_size, kept_samples(job)
    )
    return job.evaluator.sampled(generation, png)


def kept_samples(job: Job) -> "SampleShards | None":
    """Where the job's samples are kept, so that it goes on if it is killed; or None."""
    from dbim_lightning.evaluation.samples.shards import SampleShards

    is_large = len(job.evaluator.data) >= LARGE
    if not (is_large if job.cfg.keep_samples is None else job.cfg.keep_samples):
        return None
    depends_on = {key: job.asked[key] for key in ("sampler", "nfe", "seed", "num_images")}
    depends_on["origin"] = {k: v for k, v in job.asked["origin"].items() if k != "checkpoint"}
    protocol = job.evaluator.protocol
    depends_on |= {"split": protocol.split, "rounding": protocol.rounding}
    return SampleShards(Path(job.cfg.folder) / "samples", depends_on)


def evaluate(cfg: DictConfig, folder: Path, sweep: Path | None) -> dict[str, Any] | None:
    """Runs one job.

    Args:
        folder: for pictures and, last, results.json.
        sweep: the folder of the sweep that the job is part of, or None.

    Returns:
        The result row, or None where the sweep has it already.
    """
    from dbim_lightning.evaluation.processes import broadcast
    from dbim_lightning.evaluation.report import results, sheets

    job = make_job(cfg)
    first = job.evaluator.rank == 0
    done = broadcast(results.same_job(sweep, job.asked) if sweep and first else None)
    if done:
        print(f"skipped: done before, in {done}")
        return None
    results.require_free(folder, job.asked)
    outcome = run(job, folder / "samples" if cfg.save_images else None)
    row = {"format": results.FORMAT, **job.asked, **outcome.row}
    if first:
        sheets.save_job_sheets(folder, outcome.previews, outcome.pictures)
        write_json(folder / results.FILE, row, indent=1)
    return row


class Summary(Callback):
    """Keeps the summary of a sweep up to date after each job, and prints it at the end."""

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.mode == RunMode.RUN:
            return
        from dbim_lightning.evaluation.processes import rank_and_world_size
        from dbim_lightning.evaluation.report import sheets, summary

        folder = Path(config.hydra.sweep.dir)
        written = [path.stat().st_mtime_ns for path in folder.rglob("results.json")]
        before = [path.stat().st_mtime_ns for path in folder.glob("summary.md")]
        if rank_and_world_size()[0] == 0 and max(written, default=0) > max(before, default=0):
            with one_line_errors():  # of which Hydra would make warnings
                summary.summarise(folder)
                sheets.save_sweep_sheet(folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from dbim_lightning.evaluation.processes import rank_and_world_size
        from dbim_lightning.evaluation.report import summary

        self.on_job_end(config)  # jobs that ran side by side may have missed one another
        if rank_and_world_size()[0] > 0:
            return
        folder = Path(config.hydra.sweep.dir)
        summary.tell(folder)
        if config.wandb:
            from dbim_lightning.evaluation.report.logged import log_sweep

            with one_line_errors():
                log_sweep(folder)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def hydra_main(cfg: DictConfig) -> None:
    from dbim_lightning.evaluation.processes import (
        broadcast,
        rank_and_world_size,
        start_processes,
    )
    from dbim_lightning.evaluation.report.rows import job_of
    from dbim_lightning.evaluation.report.table import table

    job = HydraConfig.get()
    composing.check_overrides("evaluate", cfg, list(job.overrides.task))
    if cfg.samples and not any(word.startswith("nfe=") for word in job.overrides.task):
        raise SystemExit(f"error: samples={cfg.samples}: give nfe=N, the calls they were made with")
    start_processes()
    folder = Path(broadcast(os.path.relpath(job.runtime.output_dir)))
    rank, world_size = rank_and_world_size()
    single = job.mode == RunMode.RUN
    try:
        row = evaluate(cfg, folder, None if single else Path(job.sweep.dir))
    except UserError as error:
        others_go_on = world_size > 1 and not isinstance(error, config.ConfigurationError)
        if single or others_go_on:
            raise SystemExit(f"error: {error}") from None
        print(f"skipped: {error}")
        return
    if single and rank == 0:
        print(table([job_of(row)]))
        print(f"Results: {folder}/results.json, images: {folder}/images.png")
        if cfg.wandb:
            from dbim_lightning.evaluation.report.logged import log_job

            log_job(folder)


def main() -> None:
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    with one_line_errors(OSError), composing.one_line_hydra_errors("evaluate"):
        sys.argv[1:] = take_sampler_files(sys.argv[1:])
        hydra_main()
