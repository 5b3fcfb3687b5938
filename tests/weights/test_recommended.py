"""Weights files that carry the samplers which were tuned for them."""

import json

import pytest
from commands import run
from omegaconf import OmegaConf

from dbim_lightning import load_sampler
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, Karras
from dbim_lightning.weights import SavedDenoiser, read_denoiser, recommended_sampler

GRID = {"_target_": "dbim_lightning.samplers.grids.Karras", "start": 0.95, "rho": 3.0}


@pytest.fixture(scope="module")
def source(trained):
    return trained / "checkpoints" / "last.ckpt"


def tuned_file(folder, schedule, nfe, eta=1.5):
    node = {"_target_": "dbim_lightning.samplers.dbim.DBIM", "eta": eta, "grid": GRID}
    path = folder / f"dbim_nfe{nfe}.yaml"
    OmegaConf.save(OmegaConf.create(node | {"tuned": {"schedule": schedule, "nfe": nfe}}), path)
    return path


def export(source, out, *files, status=0):
    words = [word for file in files for word in ("--sampler", str(file))]
    command = ["-m", "dbim_lightning.weights", "export", str(source), *words, "-o", str(out)]
    return run(*command, status=status)


def test_the_sampler_is_that_of_the_nearest_nfe(source, tmp_path):
    schedule = read_denoiser(source).config["denoiser"]["schedule"]
    files = [tuned_file(tmp_path, schedule, 5), tuned_file(tmp_path, schedule, 20, eta=2.0)]
    out = tmp_path / "bridge.safetensors"
    export(source, out, *files)
    grid = Karras(start=0.95, rho=3.0)
    assert load_sampler(out, 5) == DBIM(5, eta=1.5, grid=grid)
    assert load_sampler(out, 9) == DBIM(9, eta=1.5, grid=grid)
    assert load_sampler(out, 11) == DBIM(11, eta=2.0, grid=grid)
    words = ["metrics=paired", "num_images=4", f"hydra.run.dir={tmp_path}/a"]
    run("evaluate.py", f"weights={out}", "sampler=recommended", "nfe=3", *words)
    row = json.loads((tmp_path / "a" / "results.json").read_text())
    assert (row["sampler"]["eta"], row["sampler"]["grid"], row["nfe"]) == (1.5, GRID, 3)


def test_what_carries_none_is_named_with_the_remedy(source):
    with pytest.raises(UserError, match=rf"{source} carries no sampler: .*export --sampler"):
        load_sampler(source, 5)
    printed = run("evaluate.py", f"checkpoint={source}", "sampler=recommended", status=1)
    assert "give weights=FILE" in printed


def test_other_schedules_and_other_files_are_not_taken_in(source, tmp_path):
    schedule = read_denoiser(source).config["denoiser"]["schedule"]
    (tmp_path / "own.yaml").write_text("_target_: dbim_lightning.samplers.DBIM\n")
    (tmp_path / "broken.yaml").write_text("a: [")
    for file, message in {
        tuned_file(tmp_path, schedule | {"t_max": 2.0}, 5): "was tuned for the schedule",
        tuned_file(tmp_path, schedule, 10, eta=-1.0): "eta=-1.0",
        tmp_path / "own.yaml": "does not say what it was tuned for",
        tmp_path / "broken.yaml": "cannot be read",
        tmp_path / "none.yaml": "cannot be read",
    }.items():
        printed = export(source, tmp_path / "out.safetensors", file, status=1)
        assert message in printed and "Traceback" not in printed
    assert not (tmp_path / "out.safetensors").exists()


def test_a_carried_sampler_cannot_call_anything_else(tmp_path):
    node = {"_target_": "subprocess.Popen", "args": "true", "tuned": {"nfe": 5}}
    with pytest.raises(UserError, match=r"subprocess.Popen is no sampler"):
        recommended_sampler(SavedDenoiser(tmp_path / "a", {"samplers": [node]}, {}, 0), 5)
