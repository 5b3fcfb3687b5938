"""The Python that the README shows runs as it stands."""

import re
from pathlib import Path

from dbim_lightning.weights import SavedDenoiser, build_denoiser, write_denoiser
from dbim_lightning.weights.__main__ import published_config

README = Path(__file__).parents[1] / "README.md"


def test_python_examples(tmp_path, monkeypatch):
    first, second = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(first, names)
    assert names["targets"].shape == (16, 3, 32, 32)
    assert names["targets"].abs().max() <= 1
    assert len([line for line in first.splitlines() if line.strip()]) <= 10

    config = published_config("adm_tiny", "brownian")
    weights = build_denoiser(config).state_dict()
    write_denoiser(tmp_path / "bridge.safetensors", SavedDenoiser(tmp_path, config, weights, 0))
    monkeypatch.chdir(tmp_path)
    before = names.pop("targets")
    exec(second, names)
    assert names["targets"].shape == before.shape
    assert len([line for line in second.splitlines() if line.strip()]) == 3
