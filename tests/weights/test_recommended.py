"""Weights files that carry the samplers which were tuned for them."""

import json
from pathlib import Path

import pytest
from commands import run
from omegaconf import OmegaConf

from dbim_lightning import load_sampler
from dbim_lightning.errors import UserError
from dbim_lightning.samplers import DBIM, Karras
from dbim_lightning.weights import read_denoiser, recommended_sampler

DBIM_NAME = "dbim_lightning.samplers.dbim.DBIM"
GRID = {"_target_": "dbim_lightning.samplers.grids.Karras", "start": 0.95, "rho": 3.0}


@pytest.fixture(scope="module")
def source(trained):
    return trained / "checkpoints" / "last.ckpt"


def tuned_file(folder, schedule, nfe, eta=1.5):
    node = {"_target_": DBIM_NAME, "eta": eta, "grid": GRID}
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


def test_what_carries_none_is_named_with_the_remedy(source, tmp_path):
    with pytest.raises(UserError, match=rf"{source} is no weights file"):
        load_sampler(source, 5)
    export(source, out := tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match=rf"{out} carries no sampler: .*export --sampler"):
        load_sampler(out, 5)
    printed = run("evaluate.py", f"checkpoint={source}", "sampler=recommended", status=1)
    assert "give weights=FILE" in printed


def test_other_schedules_and_other_files_are_not_taken_in(source, tmp_path):
    schedule = read_denoiser(source).config["denoiser"]["schedule"]
    (tmp_path / "own.yaml").write_text("_target_: dbim_lightning.samplers.DBIM\n")
    (tmp_path / "text.yaml").write_text("tuned: {schedule: a, nfe: x}\n")
    unknown = tuned_file(tmp_path, schedule, 3).read_text() + "colour: red\n"
    (tmp_path / "unknown.yaml").write_text(unknown)
    (tmp_path / "broken.yaml").write_text("a: [")
    for file, message in {
        tuned_file(tmp_path, schedule | {"t_max": 2.0}, 5): "was tuned for the schedule",
        tuned_file(tmp_path, schedule, 10, eta=-1.0): "eta=-1.0",
        tmp_path / "own.yaml": "does not say what it was tuned for",
        tmp_path / "text.yaml": "is no sampler",
        tmp_path / "unknown.yaml": "cannot be made",
        tmp_path / "broken.yaml": "cannot be read",
        tmp_path / "none.yaml": "there is no such file",
    }.items():
        printed = export(source, tmp_path / "out.safetensors", file, status=1)
        assert message in printed and "Traceback" not in printed
    assert not (tmp_path / "out.safetensors").exists()


def test_another_export_keeps_the_samplers_of_other_nfe(source, tmp_path):
    schedule = read_denoiser(source).config["denoiser"]["schedule"]
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    export(source, first, tuned_file(tmp_path, schedule, 5), tuned_file(tmp_path, schedule, 20))
    export(first, second, tuned_file(tmp_path, schedule, 20, eta=2.0))
    assert [load_sampler(second, nfe).eta for nfe in (5, 20)] == [1.5, 2.0]


@pytest.mark.parametrize(
    ("samplers", "message"),
    [
        ({"5": {"_target_": "subprocess.Popen", "args": "true"}}, "subprocess.Popen is no sampler"),
        ({"5": {"_target_": DBIM_NAME, "grid": {"_target_": "os.system"}}}, "os.system is no grid"),
        ({"5": {"_target_": DBIM_NAME, "grid": GRID, "colour": 1}}, "cannot be made"),
        ({"5": GRID}, "cannot be made"),
        ({"five": {}}, "do not stand by NFE"),
        ([{}], "do not stand by NFE"),
    ],
)
def test_a_file_cannot_make_anything_else(samplers, message):
    with pytest.raises(UserError, match=message):
        recommended_sampler(Path("a"), {"samplers": samplers}, 5)
