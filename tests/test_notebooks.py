"""The notebooks, on the newest run."""

import json

import pytest
from commands import ROOT

# notebook -> pictures in it, and what makes it quick
NOTEBOOKS = {
    "booting_noise": (["noises", "calls"], {"nfe=20": "nfe=2", "(2, 3, 5, 10, 20, 50)": "(2, 3)"}),
    "latents": (["reconstruction", "way", "others", "edits"], {}),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run_on_the_newest_run(name, trained, openmoji_root, monkeypatch):
    monkeypatch.chdir(ROOT)
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    pictures, quick = NOTEBOOKS[name]
    code = "\n".join(cells)
    changes = {"runs/train": str(trained.parent), **quick}
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    found = {}
    exec(code, found)
    for picture in pictures:
        assert len(found[picture].getcolors(100_000)) > 100
    if name == "latents":
        again = found["decode"](*found["bridge"], found["exact"], found["x_T"], found["sampler"])
        assert (again - found["x_0"]).square().mean() < 1e-4


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_come_with_their_pictures_and_are_small(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    outputs = [
        output for c in json.loads(path.read_text())["cells"] for output in c.get("outputs", [])
    ]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == len(NOTEBOOKS[name][0])
    assert path.stat().st_size < 300_000
