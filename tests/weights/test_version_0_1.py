"""Files of version 0.1 are read, evaluated, exported and resumed as they were then.

tests/version_0_1 holds a checkpoint of four steps of a small network, its export as a weights file,
and the result row of `evaluate.py checkpoint=… nfe=5 num_images=6 metrics=paired` at that time.
"""

import json

import pytest
import torch
from commands import ROOT, logged, run
from omegaconf import OmegaConf

import dbim_lightning
from dbim_lightning.bridge import DDBMPreconditioning, VPSchedule, best_precision
from dbim_lightning.config import instantiate
from dbim_lightning.weights import read_denoiser
from dbim_lightning.weights.upgrade import upgraded

FOLDER = ROOT / "tests" / "version_0_1"
CHECKPOINT, WEIGHTS = FOLDER / "last.ckpt", FOLDER / "bridge.safetensors"


@pytest.mark.parametrize("path", [CHECKPOINT, WEIGHTS], ids=lambda path: path.name)
def test_it_loads(path):
    denoiser = dbim_lightning.load(path)
    saved = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    for key, value in denoiser.state_dict().items():
        assert torch.equal(value, saved[f"denoiser.{key}"])
    assert isinstance(denoiser.schedule, VPSchedule)
    assert denoiser.preconditioning == DDBMPreconditioning(0.61, 0.48, 0.24)
    assert denoiser.precision == best_precision(denoiser.device)
    assert dbim_lightning.load(path, precision="float16").precision == "float16"
    assert read_denoiser(path).config["sampler"]["grid"]["_target_"].endswith("Karras")


@pytest.mark.parametrize("word", [f"checkpoint={CHECKPOINT}", f"weights={WEIGHTS}"])
def test_it_evaluates_to_the_same_numbers(word, openmoji_root, tmp_path):
    options = ["nfe=5", "num_images=6", "metrics=paired", "precision=float32"]
    options.append(f"hydra.run.dir={tmp_path}")
    run("evaluate.py", word, *options)
    row = json.loads((tmp_path / "results.json").read_text())
    then = json.loads((FOLDER / "results.json").read_text())
    for metric in ("mse", "psnr", "ssim"):
        assert row["metrics"][metric] == pytest.approx(then[metric], rel=1e-5)
    for name in ("eta", "order", "clip_denoised"):
        assert row["sampler"][name] == then[name]
    assert row["sampler"]["grid"]["_target_"].endswith(".Uniform")
    assert row["nfe"] == then["nfe"]


def test_it_resumes(openmoji_root, tmp_path):
    options = [f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    options += ["evaluation.every_n_steps=2", "evaluation.num_images=4", "evaluation.nfe=[2]"]
    run("train.py", f"resume={CHECKPOINT}", "trainer.max_steps=6", *options)
    assert logged(tmp_path, "eval/ddbm_nfe2/mse").keys() == {6}
    assert logged(tmp_path, "train/loss").keys() == {5}
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    config = checkpoint["dbim_lightning_config"]
    assert config["denoiser"]["network"] == config["network"]
    assert config["objective"]["_target_"] == "dbim_lightning.objectives.BridgeMatching"


def test_the_metrics_of_its_trainings_are_those_of_today():
    old = {
        "_target_": "dbim_lightning.evaluation.Protocol",
        "name": "offline",
        "split": "test",
        "features": [{"_target_": "dbim_lightning.evaluation.EfficientNetLite0"}],
        "paired": {"resize": 24},
        "truncates": True,
        "context": True,
        "diversity": 0,
    }
    new = upgraded({"evaluation": {"every_n_steps": 2, "metrics": old}})["evaluation"]
    assert new["every_n_steps"] == 2
    protocol = instantiate(OmegaConf.create(new["metrics"]))
    assert (protocol.name, protocol.split, protocol.rounding) == ("offline", "test", "down")
    assert list(protocol.columns) == ["kid_lite0", "fd_lite0", "mse", "psnr", "ssim"]
    assert protocol.measured["paired"].resize == 24
    saved = torch.load(CHECKPOINT, weights_only=True)["dbim_lightning_config"]
    of_then = upgraded(saved)["evaluation"]["metrics"]
    assert list(instantiate(OmegaConf.create(of_then)).columns) == ["mse", "psnr", "ssim"]
