"""What pip installs of a wheel does without the clone: both programs and the other commands."""

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from commands import ROOT, TINY
from picture_files import as_strips, some_pairs

from dbim_lightning import __version__

SOURCES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"]
BUILD = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
PIP = ["-m", "pip", "--disable-pip-version-check"]
pytestmark = pytest.mark.slow


def run(folder, *command):
    """Runs a command that does not see the clone; returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The folder of the commands of a new environment, with a wheel made of a source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("dbim_lightning", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "clone" / name, ignore=ignored)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "clone")
    archive = run(folder / "clone", sys.executable, "-c", BUILD).split()[-1]
    options = ["--no-deps", "--no-build-isolation", "-w", folder]
    run(folder, sys.executable, *PIP, "wheel", *options, folder / "clone" / archive)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    install = ["--python", python, "install", "--no-deps", "--no-index", wheel]
    run(folder, sys.executable, *PIP, *install)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture(scope="module")
def trained(commands, tmp_path_factory):
    """An otherwise empty folder where a bridge was trained for two steps, and what was printed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    as_strips(folder / "pairs", some_pairs(24, 32, 32))
    words = ["dataset=paired_folder", "dataset.root=pairs", "dataset.image_size=32", *TINY]
    return folder, run(folder, commands / "dbim-train", *words, "trainer.max_steps=2")


def test_the_package_is_that_of_the_wheel_and_typed(commands, tmp_path):
    code = "import dbim_lightning as d, importlib.metadata as m\n"
    code += "print(m.version('dbim-lightning'), d.__file__)"
    version, found = run(tmp_path, commands / "python", "-c", code).split()
    assert version == __version__
    assert found.startswith(str(commands.parent / "lib"))
    package = commands.parent.joinpath(found).parent
    assert (package / "py.typed").exists()
    assert {p.relative_to(package / "conf") for p in package.rglob("*.yaml")} == {
        p.relative_to(ROOT / "conf") for p in ROOT.joinpath("conf").rglob("*.yaml")
    }


def test_a_bridge_is_trained_and_evaluated(commands, trained):
    folder, printed = trained
    assert "Evaluate: dbim-evaluate -m runs=runs/train nfe=2,5,10,20" in printed
    (run_folder,) = folder.glob("runs/train/*")
    assert json.loads((run_folder / "training.json").read_text())["step"] == 2
    assert (run_folder / "checkpoints" / "step_0000002.ckpt").exists()

    words = ["sampler.eta=0,1", "nfe=2", "num_images=2", "metrics=paired"]
    printed = run(folder, commands / "dbim-evaluate", "-m", *words)
    (summary,) = folder.glob("runs/evaluate/*/summary.csv")
    with summary.open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert "error" not in printed


def test_two_processes_train_one_bridge(commands, trained):
    folder, _ = trained
    last = next(folder.glob("runs/train/*/checkpoints/last.ckpt"))
    words = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    words += [f"resume={last}", "trainer.max_steps=4", "trainer.limit_val_batches=0"]
    printed = run(folder, commands / "dbim-train", *words, "hydra.run.dir=two")
    assert "MEMBER: 2/2" in printed
    assert json.loads((folder / "two" / "training.json").read_text())["step"] == 4


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_names_the_command(name, commands, tmp_path):
    printed = run(tmp_path, commands / f"dbim-{name}", "--help")
    assert f"\n  dbim-{name} " in printed
    assert "\n  sampler: dbim, dbim_fast, " in printed
    assert f"{name}.py" not in printed


def test_other_commands_are_there(commands, trained):
    folder, _ = trained
    words = ["dataset=paired_folder", "dataset.root=pairs", "dataset.image_size=32"]
    run(folder, commands / "python", "-m", "dbim_lightning.data.preview", *words, "-o", "a.png")
    assert (folder / "a.png").exists()
    last = next(folder.glob("runs/train/*/checkpoints/last.ckpt"))
    words = ["export", last, "-o", "bridge.safetensors"]
    run(folder, commands / "python", "-m", "dbim_lightning.weights", *words)
    assert (folder / "bridge.safetensors").exists()
    assert "weights=FILE" in run(folder, commands / "python", "-m", "dbim_lightning.app", "--help")
