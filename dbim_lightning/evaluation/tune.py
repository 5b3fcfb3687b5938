"""Tunes DBIM for a bridge: python -m dbim_lightning.evaluation.tune checkpoint=PATH nfe=5,10 -o DIR

Optuna (pip install 'dbim-lightning[tune]') searches sigma_max and rho of the sigma grid, eta and
order, on validation images alone. For each NFE the best goes to DIR/dbim_nfe5.yaml and so on, for
sampler=FILE of evaluations and trainings. The same command goes on where it was.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from dbim_lightning import config
from dbim_lightning.bridge import BridgeDenoiser, device_named
from dbim_lightning.commands import calls, program, word
from dbim_lightning.data.subset import settled
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation.evaluator import Evaluator
from dbim_lightning.evaluation.origin import named_bridge, named_data
from dbim_lightning.files import whole, writing
from dbim_lightning.options import EVALUATE
from dbim_lightning.samplers import DBIM, KarrasSigma, identity

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
except ImportError as error:
    raise SystemExit(
        "error: tuning needs Optuna: pip install 'dbim-lightning[tune]' "
        "(in a clone: pip install -e '.[tune]')"
    ) from error

FINALISTS, SEEDS = 3, 3
FAST = {"sigma_max": 3.0, "rho": 4.0, "eta": 6.0, "order": 1}  # sampler=dbim_fast


class Tuning(NamedTuple):
    """What is tuned and by what it is judged.

    asked: what the trials depend on, as plain data.
    """

    denoiser: BridgeDenoiser
    evaluator: Evaluator
    metric: str
    batch_size: int
    asked: dict[str, Any]

    def score(self, sampler: DBIM, seed: int, title: str) -> float:
        """The number to make small: of the samples of all validation images."""
        stream = self.evaluator.generation(self.denoiser, sampler, seed, self.batch_size)
        value = self.evaluator.judge(stream, title)[self.metric]
        return -value if self.evaluator.protocol.columns[self.metric].better == "↑" else value


def sampler_of(params: dict[str, Any], nfe: int) -> DBIM:
    """The sampler of a trial, in three digits."""
    sigma_max, rho, eta = (float(f"{params[key]:.3g}") for key in ("sigma_max", "rho", "eta"))
    grid = KarrasSigma(rho=rho, sigma_max=sigma_max)
    return DBIM(nfe, eta=eta, order=params["order"], grid=grid, omega="exponential")


def opened_study(tuning: Tuning, nfe: int, folder: Path) -> optuna.Study:
    """The trials of `nfe` calls in a folder.

    Raises:
        UserError: it holds those of something else, or they cannot be read.
    """
    journal = folder / "trials.log"
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(study_name=f"nfe{nfe}", storage=storage, load_if_exists=True)
        asked = study.user_attrs.get("asked", tuning.asked)
        different = [key for key in tuning.asked if asked.get(key) != tuning.asked[key]]
    except Exception as error:  # of any kind, as Optuna takes the file for whole
        raise UserError(
            f"{journal} cannot be read ({type(error).__name__}): delete it, or give another -o DIR"
        ) from error
    if different:
        raise UserError(
            f"{folder} holds trials with another {', '.join(different)}: give another -o DIR"
        )
    return study


def tuned(tuning: Tuning, nfe: int, trials: int, folder: Path) -> tuple[DBIM, list[float]]:
    """The best sampler of `nfe` calls, and its scores with several seeds.

    The best few trials and the published DBIM, at eta 0 and 1, are compared with all seeds.

    Raises:
        UserError: the folder holds the trials of something else, or no trial could be sampled.
    """
    study = opened_study(tuning, nfe, folder)
    study.set_user_attr("asked", tuning.asked)
    if not study.trials:
        study.enqueue_trial(FAST)

    def objective(trial: optuna.Trial) -> float:
        params = {
            "sigma_max": trial.suggest_float("sigma_max", 0.5, 30, log=True),
            "rho": trial.suggest_float("rho", 1, 8, log=True),
            "eta": trial.suggest_float("eta", 0, 12),
            "order": trial.suggest_int("order", 1, 2),
        }
        try:
            sampler = sampler_of(params, nfe)
            return tuning.score(sampler, 0, f"NFE {nfe}, trial {len(study.trials)} of {trials}")
        except UserError as error:  # such as two times on one index of a table
            trial.set_user_attr("error", str(error))
            raise optuna.TrialPruned from error

    done = [trial for trial in study.trials if trial.state.is_finished()]
    study.sampler = optuna.samplers.TPESampler(seed=len(done))
    study.optimize(objective, n_trials=max(trials - len(done), 0))
    complete = [trial for trial in study.trials if trial.value is not None]
    if not complete:
        reason = study.trials[-1].user_attrs.get("error", f"{tuning.metric} is not a number")
        raise UserError(f"no trial at NFE {nfe} could be judged; the last: {reason}")
    best = sorted(complete, key=lambda trial: trial.value)[:FINALISTS]
    known = {sampler_of(trial.params, nfe): [trial.value] for trial in best}
    published: dict[DBIM, list[float]] = {DBIM(nfe): [], DBIM(nfe, eta=1.0): []}
    results = []
    for sampler, scores in (published | known).items():
        key = f"seeds of {sampler}"
        found = study.user_attrs.get(key, scores)
        for seed in range(len(found), SEEDS):
            found = [*found, tuning.score(sampler, seed, f"NFE {nfe}, seed {seed}")]
            study.set_user_attr(key, found)
        results.append((sampler, found))
        print(f"NFE {nfe}: {in_words(tuning, found)}: {sampler}")
    return min(results, key=lambda result: statistics.mean(result[1]))


def in_words(tuning: Tuning, scores: list[float]) -> str:
    """Mean and standard deviation over seeds, as tables have them."""
    column = tuning.evaluator.protocol.columns[tuning.metric]
    sign = -1 if column.better == "↑" else 1
    mean, spread = statistics.mean(scores) * sign, statistics.stdev(scores)
    return f"{column.title} {mean * column.scale:.2f} ± {spread * column.scale:.2f}"


def write_sampler(path: Path, sampler: DBIM, tuning: Tuning, scores: list[float]) -> None:
    """A YAML for sampler=FILE, which says what it was tuned for."""
    node = identity(sampler)
    nfe = node.pop("nfe")
    node["tuned"] = {**tuning.asked, "nfe": nfe, "seeds": SEEDS}
    with whole(path) as beside:
        beside.write_text(
            f"# Tuned for NFE {nfe} on validation images: {in_words(tuning, scores)}.\n"
            + OmegaConf.to_yaml(OmegaConf.create(node))
        )


def make_tuning(words: list[str], metric: str | None) -> Tuning:
    """Reads the bridge and makes its judge.

    Raises:
        UserError: from either, a split that is asked for, or a metric that the protocol lacks.
    """
    if any(
        entry.lstrip("+").startswith(("metrics.split=", "sampler", "samples=")) for entry in words
    ):
        raise UserError(
            "tuning chooses the sampler itself, on validation images alone: leave sampler, samples "
            "and metrics.split out"
        )
    words = [*words, "metrics.split=validation", "++metrics.baselines=false"]
    cfg = config.configured("evaluate", words, EVALUATE)
    device = device_named(cfg.device)
    bridge = named_bridge(cfg, device)
    denoiser = bridge.denoiser
    dataset = named_data(cfg, bridge)
    protocol = config.instantiate(cfg.metrics)
    keys = [key for one in protocol.metrics if one.noises == 1 for key in one.columns]
    if not keys:
        raise UserError(f"metrics={protocol.name} measures nothing to tune by: choose another")
    metric = keys[0] if metric is None else metric
    if metric not in keys:
        raise UserError(f"--metric {metric}: choose one of {', '.join(keys)}")
    data = config.instantiate(OmegaConf.create(dataset))
    evaluator = Evaluator(
        data, protocol, device, cfg.num_images, Path(cfg.folder), {"dataset": dataset}
    )
    asked = {
        "schedule": bridge.schedule,
        "checkpoint_sha256": bridge.sha256,
        "dataset": dataset | settled(evaluator.data),
        "protocol": protocol.name,
        "metric": metric,
        "num_images": len(evaluator.data),
        "precision": denoiser.precision,
        "search": sorted(FAST),
    }
    return Tuning(denoiser, evaluator, metric, cfg.batch_size, asked)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.evaluation.tune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help="as of an evaluation")
    parser.add_argument("-o", type=Path, required=True, metavar="DIR", help="trials and YAMLs")
    parser.add_argument("--trials", type=int, default=40, help="for each NFE")
    parser.add_argument("--metric", help="the number to improve; the first of the protocol")
    options = parser.parse_intermixed_args()
    if options.trials < 1:
        raise UserError(f"--trials {options.trials}: use 1 or more")
    nfes = calls(options.words, [5, 10, 20])
    others = [entry for entry in options.words if not entry.startswith("nfe=")]
    tuning = make_tuning(others, options.metric)
    with writing(options.o):
        options.o.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for nfe in nfes:
        sampler, scores = tuned(tuning, nfe, options.trials, options.o)
        path = options.o / f"dbim_nfe{nfe}.yaml"
        write_sampler(path, sampler, tuning, scores)
        print(f"Sample: {program('evaluate')} {word('sampler', path)} nfe={nfe}")


if __name__ == "__main__":
    with one_line_errors():
        main()
