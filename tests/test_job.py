"""The identity of a job, and of the samples that are kept for it."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dbim_lightning import evaluate
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation.origin import Bridge
from dbim_lightning.samplers import DBIM, Karras

IMAGES = torch.rand(9, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PAIRS = [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(IMAGES)]


class Another(DBIM):
    pass


def job(folder, sampler, pairs=PAIRS, keep=True, sha="0", path="a.ckpt", protocol=None, **options):
    """As `make_job` makes it, of data at hand."""
    options = {"precision": "float32", "batch_size": 4, "seed": 0} | options
    metrics = {"name": "toy", "split": "test", "rounding": "nearest"} | (protocol or {})
    cfg = OmegaConf.create(
        {
            "nfe": sampler.nfe,
            "samples": None,
            "folder": str(folder),
            "keep_samples": keep,
            "metrics": metrics,
            **options,
        }
    )
    splits = {"test": pairs, "train": pairs}
    evaluator = Evaluator(splits.__getitem__, Protocol(**metrics), folder=folder)
    bridge = Bridge(None, {}, Path(path), sha)
    plain, data = OmegaConf.to_container(cfg), {"dataset": {"root": "x"}, "versions": {}}
    asked = evaluate.asked_of(plain, bridge, sampler, evaluator, data)
    return evaluate.Job(cfg, bridge, sampler, evaluator, asked)


def test_samples_are_kept_apart_by_all_that_they_depend_on(tmp_path):
    jobs = [
        job(tmp_path, DBIM(2)),
        job(tmp_path, DBIM(2), seed=1),
        job(tmp_path, DBIM(3)),
        job(tmp_path, DBIM(2, eta=1)),
        job(tmp_path, DBIM(2, grid=Karras())),
        job(tmp_path, DBIM(2, grid=Karras(3))),
        job(tmp_path, Another(2)),
        job(tmp_path, DBIM(2), sha="1"),
        job(tmp_path, DBIM(2), precision="bfloat16"),
        job(tmp_path, DBIM(2), batch_size=8),
        job(tmp_path, DBIM(2), protocol={"rounding": "down"}),
        job(tmp_path, DBIM(2), protocol={"split": "train"}),
        job(tmp_path, DBIM(2), pairs=PAIRS[:8]),
    ]
    assert len({evaluate.kept_samples(job).hash for job in jobs}) == len(jobs)
    whole = job(tmp_path, DBIM(2, eta=0)), job(tmp_path, DBIM(2, eta=0.0))
    assert whole[0].asked == whole[1].asked
    assert len({evaluate.kept_samples(job).hash for job in whole}) == 1
    first, moved = jobs[0], job(tmp_path, DBIM(2), path="elsewhere/a.ckpt")
    other_metrics = job(tmp_path, DBIM(2), protocol={"baselines": True})
    assert first.asked != moved.asked
    assert first.asked != other_metrics.asked
    for same in (moved, other_metrics):
        assert evaluate.kept_samples(same).hash == evaluate.kept_samples(first).hash


@pytest.mark.parametrize(
    ("keep", "count", "kept"),
    [(None, 8, False), (None, 9, True), (True, 8, True), (False, 9, False)],
)
def test_samples_of_many_images_are_kept_unless_told_otherwise(
    tmp_path, monkeypatch, keep, count, kept
):
    monkeypatch.setattr(evaluate, "LARGE", 9)
    found = evaluate.kept_samples(job(tmp_path, DBIM(2), pairs=PAIRS[:count], keep=keep))
    assert (found is not None) == kept


def test_the_first_half_of_a_row_holds_all_that_was_asked(tmp_path):
    asked = job(tmp_path, DBIM(5, eta=1), seed=3).asked
    assert (asked["nfe"], asked["seed"], asked["num_images"]) == (5, 3, 9)
    assert asked["sampler"]["_target_"] == "dbim_lightning.samplers.dbim.DBIM"
    assert asked["sampler"]["eta"] == 1
    assert "nfe" not in asked["sampler"]
    assert asked["protocol"] == {"name": "toy", "split": "test", "rounding": "nearest"}
    origin = asked["origin"]
    assert (origin["checkpoint"], origin["checkpoint_sha256"]) == ("a.ckpt", "0")
    assert origin["dataset"] == {"root": "x"}
    assert origin["device"].startswith("cpu, ")


def test_what_jobs_share_is_made_once_and_the_last_four_are_remembered():
    made = []

    @evaluate.remembered
    def make(name, options):
        made.append(name)
        return [name]

    first = make("a", {"x": 1})
    assert make("a", {"x": 1}) is first
    for name in "bcde":
        make(name, {})
    assert make("e", {}) == ["e"]
    assert make("a", {"x": 1}) is not first
    assert made == [*"abcde", "a"]
