"""A run that was stopped between its last step and training.json is finished by resume=auto."""

import json

import pytest
import torch
from commands import TINY, logged, run

from dbim_lightning.training import Stops


def written(folder):
    result = json.loads((folder / "training.json").read_text())
    values = {key: value for key, value in result.items() if key.startswith("val/")}
    table = {column: logged(folder, column) for column in ("train/loss", "val/error", "val/loss")}
    return result["step"], values, table


@pytest.mark.parametrize("steps", [3, 4], ids=["validated", "to be validated"])
def test_it_validates_once_and_logs_nothing_twice(tmp_path, openmoji_root, steps):
    words = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    words += [f"trainer.max_steps={steps}", "resume=auto"]
    run("train.py", *words)
    step, values, table = written(tmp_path)
    (tmp_path / "training.json").unlink()
    run("train.py", *words)
    assert written(tmp_path) == (step, pytest.approx(values, rel=1e-5), table)
    assert f"finished, at step {steps}" in run("train.py", *words)


def test_a_validation_that_a_signal_came_before_is_logged_as_if_it_had_not(tmp_path, openmoji_root):
    words = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={tmp_path}"]
    words += ["trainer.max_steps=3", "resume=auto"]
    run("train.py", *words)
    step, values, table = written(tmp_path)
    (tmp_path / "training.json").unlink()
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["callbacks"][Stops.__name__] == {"before_validation": False}
    content["callbacks"][Stops.__name__] = {"before_validation": True}
    torch.save(content, last)
    text = (tmp_path / "logs" / "metrics.csv").read_text()
    header, *rows = text.splitlines()
    column = header.split(",").index("val/error")
    rows = [row for row in rows if not row.split(",")[column]]
    (tmp_path / "logs" / "metrics.csv").write_text("\n".join([header, *rows, ""]))
    run("train.py", *words)
    assert written(tmp_path) == (step, pytest.approx(values, rel=1e-5), table)
