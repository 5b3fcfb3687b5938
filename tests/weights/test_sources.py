"""What names weights: paths, and bridges that ship with the package by their names."""

import json
import shutil
from pathlib import Path

import pytest
from forked import command, forked
from refusals import import_late
from safetensors import safe_open

import dbim_lightning
from dbim_lightning.errors import UserError
from dbim_lightning.weights import (
    CONFIG_KEY,
    local_file,
    read_denoiser,
    restored,
    sources,
    write_denoiser,
)


@pytest.fixture
def shipped(trained, tmp_path, monkeypatch) -> Path:
    """A bridge called emojis, in the place of those that ship; its data are where they are by
    default."""
    saved = read_denoiser(trained / "checkpoints" / "last.ckpt")
    dataset = saved.config["dataset"] | {"root": "data/openmoji"}
    folder = tmp_path / "bridges"
    write_denoiser(
        folder / "emojis.safetensors", saved._replace(config=saved.config | {"dataset": dataset})
    )
    monkeypatch.setattr(sources, "SHIPPED", folder)
    return folder / "emojis.safetensors"


def test_a_name_is_that_of_a_shipped_bridge_unless_there_is_such_a_file(
    shipped, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert local_file("emojis") == shipped
    assert restored(read_denoiser(shipped)).state_dict().keys() == (
        dbim_lightning.load("emojis").state_dict().keys()
    )
    with pytest.raises(UserError, match=r"emojis\.safetensors carries no sampler"):
        dbim_lightning.load_sampler("emojis", 5)
    shutil.copy(shipped, "emojis")
    assert local_file("emojis") == Path("emojis")
    assert local_file("some/emojis") == Path("some/emojis")


def test_an_unknown_name_is_told_the_known_ones(shipped):
    with pytest.raises(UserError, match=r"emoji is no file, .*, or one of emojis$") as caught:
        dbim_lightning.load("emoji")
    assert "\n" not in str(caught.value)


def test_evaluation_and_training_take_a_shipped_bridge_in_any_folder(
    shipped, openmoji_root, tmp_path
):
    import_late()
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "here" / "data" / "openmoji").symlink_to(openmoji_root)
    judged = ["metrics=paired", "num_images=4", "nfe=2", "hydra.run.dir=judged"]
    ended = forked(command(["evaluate.py", "weights=emojis", *judged]), tmp_path / "here")
    assert ended.status == 0, ended.text
    row = json.loads((tmp_path / "here" / "judged" / "results.json").read_text())
    assert row["origin"]["checkpoint"] == str(shipped)
    words = ["train.py", "weights=emojis", "schedule=ve", "objective/times=lambda"]
    ended = forked(command(words), tmp_path / "here")
    assert f"error: {shipped} was trained with the schedule" in ended.text


def test_openmoji_ships():
    assert local_file("openmoji").is_file()


@pytest.mark.parametrize("path", sorted(sources.SHIPPED.glob("*.safetensors")), ids=str)
def test_every_shipped_bridge_says_whose_it_is_and_loads(path):
    denoiser = dbim_lightning.load(path.stem)
    assert not denoiser.training
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()[CONFIG_KEY])
    assert config["license"] == "cc-by-sa-4.0" and "OpenMoji" in config["attribution"]
    assert path.name in (path.parent / "ATTRIBUTION.txt").read_text()
