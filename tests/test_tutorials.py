"""What the tutorials in docs/ tell a reader to run, runs as it stands, with small settings."""

import json
import os
import re
from itertools import pairwise

import pytest
from commands import ROOT, TINY, run
from pages import blocks, code, commands, files, write_files
from picture_files import as_strips, some_pairs
from PIL import Image

import dbim_lightning

SHORT = [*TINY, "trainer.max_steps=2", "trainer.val_check_interval=2"]
FEW = ["num_images=4", "metrics=paired"]


def test_ten_lines(openmoji_root, tmp_path, monkeypatch):
    """At half the size, at which the drawings are there already."""
    (tmp_path / "data").symlink_to(openmoji_root.parent)
    monkeypatch.chdir(tmp_path)
    first = blocks("ten-lines.md", "python")[0][1]
    assert len([line for line in first.splitlines() if line.strip()]) == 10
    names = {}
    exec(re.sub(r"\b(64|32)\b", lambda size: str(int(size[0]) // 2), code("ten-lines.md")), names)
    assert names["samples"].shape == (8, 3, 32, 32)
    assert len(names["rows"]) == 4
    assert len(names["states"]) == 10
    known = [names[key][..., :16] for key in ("halves", "sources")]
    assert (known[0] - known[1]).abs().mean() < 0.02
    for name in ("coloured", "seeds", "states"):
        assert Image.open(f"{name}.png").size[0] > 8 * 32


def test_your_own_pairs(tmp_path):
    pairs = as_strips(tmp_path / "pairs", some_pairs(60, 64, 64))
    run_folder, bridge = tmp_path / "run", tmp_path / "mine.safetensors"
    places = {
        "DIR": pairs,
        "packed/mine": tmp_path / "packed",
        "runs/train/<run>": run_folder,
        "mine.safetensors": bridge,
        "adm_small": "adm_tiny",
    }
    options = {
        "dbim_lightning.data.preview": ["-o", tmp_path / "preview.png"],
        "train.py": [*SHORT, f"hydra.run.dir={run_folder}"],
        "evaluate.py": [*FEW, f"runs={tmp_path}", f"hydra.sweep.dir={tmp_path / 'sweep'}"],
    }
    all_words = commands("your-own-data.md")
    assert len(all_words) == 5
    for words in all_words:
        told = [re.sub("|".join(places), lambda m: str(places[m[0]]), word) for word in words]
        name = words[1] if words[0] == "-m" else words[0]
        run(*told, *options.get(name, []))
    assert (tmp_path / "preview_levels.png").exists()
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 3
    assert dbim_lightning.load(bridge).schedule.t_max == 1


@pytest.fixture
def new_sampler(tmp_path, monkeypatch):
    """A folder with the files of the page, which Python finds."""
    write_files("new-sampler.md", tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_new_sampler(new_sampler, trained):
    assert sorted(files("new-sampler.md")) == ["conf/sampler/euler_sde.yaml", "euler_sde.py"]
    one, sweep = commands("new-sampler.md")
    program, options = "evaluate.py", [*FEW, f"runs={trained.parent}"]
    conf = f"--config-dir={new_sampler / 'conf'}"
    run(program, conf, *one[1:], *options, f"hydra.run.dir={new_sampler / 'run'}")
    row = json.loads((new_sampler / "run" / "results.json").read_text())
    assert row["sampler"]["_target_"] == "euler_sde.EulerSDE"
    assert row["nfe"] == row["cost"]["nfe_counted"] == 20
    run(program, conf, *sweep[1:], *options, f"hydra.sweep.dir={new_sampler / 'sweep'}")
    table = (new_sampler / "sweep" / "summary.md").read_text()
    assert [table.count(f"| {name} |") for name in ("dbim", "euler_sde.EulerSDE")] == [3, 3]


def test_a_new_sampler_is_of_first_order(new_sampler, capsys):
    exec(code("new-sampler.md"), {})
    printed = capsys.readouterr().out
    assert printed in [content for _, content in blocks("new-sampler.md", "")]
    errors = [float(line.split()[1]) for line in printed.splitlines()]
    assert all(0.4 < half / whole < 0.6 for whole, half in pairwise(errors))


def test_a_papers_table(trained, tmp_path):
    (words,) = [words for words in commands("paper-table.md") if words[0] == "evaluate.py"]
    run(*words, *FEW, f"runs={trained.parent}", f"hydra.sweep.dir={tmp_path}")
    table = (tmp_path / "summary.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and "±" in line]
    assert len(rows) == len(words[2].split(",")) * len(words[3].split(","))
    assert all((tmp_path / name).exists() for name in ("summary.png", "summary.csv", "images.png"))
