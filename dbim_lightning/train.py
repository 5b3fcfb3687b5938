"""The program that trains a diffusion bridge: train.py in a clone, the command dbim-train."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import hydra
import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from dbim_lightning import composing, config, earlier, wandb_runs
from dbim_lightning.bridge import Schedule, precision_on
from dbim_lightning.commands import program, word
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.files import printable, write_json, write_whole
from dbim_lightning.networks import require_image_size, require_pairs
from dbim_lightning.options import TRAIN
from dbim_lightning.resolvers import CONF
from dbim_lightning.sampler_files import require_tuned_for, take_sampler_files
from dbim_lightning.samplers import Sampler
from dbim_lightning.training import (
    BridgeModule,
    Checkpoints,
    Evaluations,
    ImagesPerSecond,
    PairDataModule,
    Previews,
    Progress,
    Stops,
    TimeIsUp,
    WholeFiles,
    device_of,
    leave,
    make_loggers,
    read_initial,
    require_resumable,
    time_limit,
    trainer_precision,
)
from dbim_lightning.training.folder import (
    CHECKPOINTS,
    FINISHED,
    finished_at,
    locked,
    named,
    require_own,
)
from dbim_lightning.weights import load_weights, local_file, read_denoiser

NODES = (
    *("denoiser", "denoiser.network", "denoiser.schedule", "denoiser.preconditioning"),
    *("data", "dataset", "trainer", "objective", "sampler", "training.optimizer", "training.ema"),
)
ENDING = OSError, MisconfigurationException  # with one line, like the project's own errors
print_once = rank_zero_only(print)


def make_optimizer(cfg: DictConfig) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """parameters -> optimiser, which is tried on one, so that wrong options are named now."""
    optimizer = config.instantiate(cfg)
    try:
        optimizer([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"training.optimizer: {error}: correct it") from error
    return optimizer


def make_module(cfg: DictConfig) -> BridgeModule:
    """The denoiser that the configuration describes, with its training settings."""
    return BridgeModule(
        config.instantiate(cfg.denoiser),
        config.instantiate(cfg.objective),
        make_optimizer(cfg.training.optimizer),
        cfg.training.warmup_steps,
        cfg.training.cooldown_steps,
        OmegaConf.to_container(cfg, resolve=True),
        cfg.seed,
    )


def make_samplers(cfg: DictConfig, nfes: Sequence[int], schedule: Schedule) -> list[Sampler]:
    """One for each NFE, which takes the schedule."""
    samplers = [config.make_sampler(cfg.sampler, nfe) for nfe in nfes]
    for sampler in samplers:
        sampler.require(schedule)
    return samplers


def make_evaluations(cfg: DictConfig, folder: Path, schedule: Schedule) -> list[Evaluations]:
    """The callback that the configuration describes under `evaluation`, or none where it is off."""
    options = cfg.evaluation
    if not options.every_n_steps:
        if options.best is not None:
            raise UserError(f"evaluation.best={options.best} needs evaluation.every_n_steps=N")
        return []
    if cfg.trainer.limit_val_batches == 0:
        raise UserError("evaluation.every_n_steps needs validation: leave limit_val_batches=0 out")
    callback = Evaluations(
        folder,
        config.instantiate(cfg.dataset),
        partial(config.instantiate, options.metrics),
        make_samplers(cfg, options.nfe, schedule),
        options.every_n_steps,
        options.num_images,
        options.best,
        cfg.precision,
    )
    return [callback]


def make_trainer(
    cfg: DictConfig, folder: Path, step: int | None, schedule: Schedule
) -> lightning.Trainer:
    """A Trainer that writes everything into `folder`, after this step of a run that is there."""
    options = dict(cfg.trainer)
    samplers = make_samplers(cfg, cfg.preview.nfe, schedule)
    if options["precision"] == "auto":
        options["precision"] = trainer_precision(device_of(options["accelerator"]))
    most = max(8, os.cpu_count() or 1)  # each computes on one core at least
    is_cpu = device_of(options["accelerator"]).type == "cpu"
    if is_cpu and isinstance(options["devices"], int) and options["devices"] > most:
        raise UserError(f"trainer.devices={options['devices']}: use {most} processes at most here")
    options["val_check_interval"] *= options["accumulate_grad_batches"]  # which counts batches
    shows_progress = options.get("enable_progress_bar") is not False
    max_time = time_limit(options.pop("max_time", None))
    checkpoints = Checkpoints(
        folder / CHECKPOINTS, cfg.checkpoint_every_n_steps, **dict(cfg.checkpoint)
    )
    trainer = config.instantiate(
        OmegaConf.create(options),
        default_root_dir=folder,
        logger=False,
        plugins=[WholeFiles()],
        callbacks=[
            *([Progress(refresh_rate=10)] if shows_progress else []),
            ImagesPerSecond(),
            Previews(folder / "previews", samplers, cfg.preview.num_images, cfg.precision),
            *make_evaluations(cfg, folder, schedule),
            config.instantiate(cfg.training.ema),
            checkpoints,
            Stops(checkpoints, max_time, "resume=auto" in HydraConfig.get().overrides.task),
        ],
    )
    if HydraConfig.get().mode == RunMode.MULTIRUN and trainer.strategy.launcher is not None:
        raise UserError(
            "a sweep cannot start several processes for each run: torchrun --nproc-per-node=N "
            f"--no-python {program('train')} -m, or one run after the other"
        )
    trainer.loggers = make_loggers(folder, cfg.wandb_project, step)
    return trainer


def prepared(cfg: DictConfig, folder: Path) -> tuple[DictConfig, int | None]:
    """The configuration that runs, and the step from which a run in `folder` goes on.

    Raises:
        UserError: a word that cannot be, a wrong value, no steps left, or a folder in use.
    """
    words = list(HydraConfig.get().overrides.task)
    if odd := [word for word in sys.argv if printable(word) != word]:
        raise UserError(f"{printable(odd[0])} is not UTF-8: rename or link what it names")
    step = None
    if checkpoint := named(cfg.resume, folder):
        saved = read_denoiser(checkpoint, trusted=config.trusted(cfg))
        require_resumable(checkpoint)
        cfg, step = earlier.resumed(saved.config, cfg, words), saved.step
        cfg.resume = str(checkpoint)
    else:
        cfg.resume = None
        composing.check_overrides("train", cfg, words)
    lasting = (word for word in words if "${" not in word and not word.startswith("resume="))
    before = OmegaConf.select(cfg, "command")
    before = before if OmegaConf.is_list(before) else []
    OmegaConf.update(cfg, "command", list(dict.fromkeys([*before, *lasting])), force_add=True)
    cfg = config.checked(cfg, TRAIN)
    is_own = step is not None and checkpoint.resolve().parent == (folder / CHECKPOINTS).resolve()
    lacks_end = is_own and step == cfg.trainer.max_steps and finished_at(folder) is None
    if step is not None and step >= cfg.trainer.max_steps and not lacks_end:
        raise UserError(
            f"{cfg.resume} stands at step {step} of {cfg.trainer.max_steps}: "
            "give a larger trainer.max_steps to train on"
        )
    config.require_nodes(cfg, NODES)
    time_limit(cfg.trainer.get("max_time"))
    plain = OmegaConf.to_container(cfg)
    require_tuned_for(plain["sampler"], plain["denoiser"]["schedule"])
    precision_on(device_of(cfg.trainer.accelerator), cfg.precision)  # refuses what does not exist
    if rank_zero_only.rank == 0:
        require_own(folder, cfg.resume and Path(cfg.resume), step or 0)
    return cfg, step


def last_metrics(
    trainer: lightning.Trainer, module: BridgeModule, data: PairDataModule, step: int | None
) -> dict[str, float]:
    """What was logged last, with a validation of the last step.

    Args:
        step: from which the run went on. One that went on from its last step has logged nothing.
    """
    metrics = {key: value.item() for key, value in trainer.logged_metrics.items()}
    is_validated = trainer.max_steps % module.config["trainer"]["val_check_interval"] == 0
    if step == trainer.max_steps:
        (stops,) = (each for each in trainer.callbacks if isinstance(each, Stops))
        if not is_validated:
            trainer.fit_loop.epoch_loop._batches_that_stepped = step  # by which rows are numbered
        elif not stops.resumed_before_validation:
            trainer.loggers = []  # which have it already
    elif is_validated:
        return metrics
    if trainer.limit_val_batches != 0:
        metrics |= trainer.validate(module, data, verbose=False)[0]
    return metrics


def train(cfg: DictConfig, folder: Path) -> None:
    """Runs one training; training.json marks it as finished."""
    if cfg.resume == "auto" and finished_at(folder) == cfg.trainer.max_steps:
        print_once(f"{folder} is finished, at step {cfg.trainer.max_steps}")
        return
    cfg, step = prepared(cfg, folder)
    initial = None
    if cfg.weights and step is None:
        schedule = OmegaConf.to_container(cfg.denoiser)["schedule"]
        initial = read_initial(local_file(cfg.weights), schedule, config.trusted(cfg))
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data = config.instantiate(cfg.data)
    data.setup("fit")  # what is wrong with the data is said before a run begins
    if cfg.resume:
        before = {"dataset": config.resolved(cfg.dataset)}
        now = {"dataset": before["dataset"] | data.settled}
        if differences := earlier.differences(now, before):
            print_once(f"note: these data differ from those trained on until now: {differences}")
    for node in (cfg.dataset, cfg.data.dataset):
        node.update(data.settled)
    module = make_module(cfg)
    require_image_size(module.denoiser.network, cfg.dataset)
    require_pairs(module.denoiser.network, data.training_pairs)
    module.objective.require(data.training_pairs[0])
    if initial is not None:
        load_weights(module.denoiser, initial)
    trainer = make_trainer(cfg, folder, step, module.denoiser.schedule)
    if trainer.is_global_zero:
        write_whole(folder / "config.yaml", OmegaConf.to_yaml(cfg))
    count = sum(parameter.numel() for parameter in module.parameters())
    print_once(f"Training {count / 1e6:.2f} M parameters in {folder}")
    try:
        trainer.fit(module, data, ckpt_path=cfg.resume, weights_only=True)
    except TimeIsUp:
        return
    metrics = last_metrics(trainer, module, data, step)
    if trainer.is_global_zero:
        write_json(folder / FINISHED, {"step": trainer.global_step, **metrics})
    if (folder / "previews").exists():
        print_once(f"Previews: {folder}/previews")
    runs = word("runs", folder.parent)
    print_once(f"Evaluate: {program('evaluate')} -m {runs} nfe=2,5,10,20")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def hydra_main(cfg: DictConfig) -> None:
    signal.signal(signal.SIGINT, leave)
    job = HydraConfig.get()
    ends = (
        one_line_errors(OSError, MisconfigurationException)
        if job.mode == RunMode.RUN
        else nullcontext()
    )
    try:
        with ends:  # before Hydra tells of the error, too; a sweep goes on with its other jobs
            folder = Path(os.path.relpath(job.runtime.output_dir))
            with locked(folder) if rank_zero_only.rank == 0 else nullcontext():
                train(cfg, folder)
    finally:
        wandb_runs.finish()  # the next job of a sweep is a run of its own


def main() -> None:
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    ignored = "does not have many workers|LeafSpec|Previous log files"  # which are kept
    warnings.filterwarnings("ignore", message=f".*({ignored}).*")
    with one_line_errors(*ENDING), composing.one_line_hydra_errors("train"):
        sys.argv[1:] = take_sampler_files(sys.argv[1:])
        hydra_main()
