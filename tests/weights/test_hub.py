"""Weights files go to a repository of the hub and come back, against a server in its place."""

import json
import socket
from time import perf_counter

import pytest
import torch
import yaml
from hub_server import TOKEN, HubServer
from picture_files import picture, save
from refusals import import_late
from result_rows import cells, result
from safetensors.torch import save_file

from dbim_lightning.evaluation.origin import short_sha256
from dbim_lightning.weights import SavedDenoiser, build_denoiser, read_denoiser, write_denoiser
from dbim_lightning.weights.__main__ import published_config

LOAD = """import sys, dbim_lightning
from dbim_lightning.errors import one_line_errors
with one_line_errors():
    denoiser = dbim_lightning.load(sys.argv[1])
print("first", denoiser.state_dict()["network.time_embed.0.weight"][0, 0].item())
"""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    import_late()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    (tmp_path / "load.py").write_text(LOAD)
    yield server
    server.close()


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    config = published_config("adm_tiny", "vp")
    config |= {"license": "cc-by-sa-4.0", "attribution": "All emojis designed by OpenMoji."}
    path = tmp_path_factory.mktemp("bridge") / "bridge.safetensors"
    write_denoiser(path, SavedDenoiser(path, config, build_denoiser(config).state_dict(), 700))
    return path


def first(path) -> str:
    """What load.py prints of these weights."""
    return f"first {read_denoiser(path).weights['network.time_embed.0.weight'][0, 0].item()}"


def sweep(folder, weights):
    """The folder of two jobs that judged a weights file, with pictures."""
    for nfe in (5, 10):
        (folder / str(nfe)).mkdir(parents=True)
        row = result(nfe, 0.0, checkpoint_sha256=short_sha256(weights))
        (folder / str(nfe) / "results.json").write_text(json.dumps(row))
    for name in ("images.png", "summary.png"):
        save(folder / name, picture(8, 8, 3))
    return folder


def push(hub, tmp_path, *words):
    return hub.run(["-m", "dbim_lightning.weights", "push", *map(str, words)], tmp_path)


def load(hub, tmp_path, source):
    return hub.run([str(tmp_path / "load.py"), source], tmp_path)


def error(ended) -> str:
    """The one line of a command that failed."""
    assert ended.status == 1, ended.text
    assert "Traceback" not in ended.text
    return ended.text.strip().splitlines()[-1]


def test_a_pushed_file_is_loaded_and_its_card_has_numbers_and_pictures(hub, bridge, tmp_path):
    folder = sweep(tmp_path / "sweep", bridge)
    ended = push(hub, tmp_path, bridge, "us/emojis", "--results", folder)
    assert ended.status == 0, ended.text
    assert f"{hub.url}/us/emojis" in ended.text
    files = hub.files("us/emojis")
    assert not hub.repositories["us/emojis"].private
    assert files["model.safetensors"] == bridge.read_bytes()
    assert yaml.safe_load(files["config.yaml"]) == read_denoiser(bridge).config
    assert files["summary.png"] == (folder / "summary.png").read_bytes()
    _, front, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-sa-4.0"
    assert "All emojis designed by OpenMoji." in text and "700 steps" in text
    assert 'dbim_lightning.load("hf://us/emojis")' in text
    assert "![images](images.png)" in text and "![summary](summary.png)" in text
    assert [row[0] for row in cells(text)][2:4] == ["5", "10"]
    loaded = load(hub, tmp_path, "hf://us/emojis")
    assert loaded.status == 0 and first(bridge) in loaded.text, loaded.text


def test_a_later_push_goes_to_the_same_repository_and_a_revision_stays(hub, bridge, tmp_path):
    assert push(hub, tmp_path, bridge, "us/emojis", "--private").status == 0
    assert hub.repositories["us/emojis"].private
    saved = read_denoiser(bridge)
    doubled = {key: 2 * value for key, value in saved.weights.items()}
    write_denoiser(tmp_path / "b.safetensors", saved._replace(weights=doubled))
    assert push(hub, tmp_path, tmp_path / "b.safetensors", "us/emojis").status == 0
    assert first(tmp_path / "b.safetensors") in load(hub, tmp_path, "hf://us/emojis").text
    assert first(bridge) in load(hub, tmp_path, f"hf://us/emojis@{1:040x}").text


def test_without_the_hub_the_cache_is_taken_and_else_one_line_says_so_in_seconds(
    hub, bridge, tmp_path, monkeypatch
):
    hub.add("us/emojis", **{"model.safetensors": bridge.read_bytes()})
    assert load(hub, tmp_path, "hf://us/emojis").status == 0
    hub.is_down = True
    assert first(bridge) in load(hub, tmp_path, "hf://us/emojis").text
    assert "503 Service Unavailable" in error(load(hub, tmp_path, "hf://us/other"))
    hub.close()
    assert first(bridge) in load(hub, tmp_path, "hf://us/emojis").text
    began = perf_counter()
    assert "hf://us/other cannot be reached" in error(load(hub, tmp_path, "hf://us/other"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in error(load(hub, tmp_path, "hf://us/other"))
        assert "cannot be reached" in error(push(hub, tmp_path, bridge, "us/other"))
    assert perf_counter() - began < 60  # on a busy machine; huggingface_hub alone takes minutes
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert first(bridge) in load(hub, tmp_path, "hf://us/emojis").text


def test_what_cannot_be_loaded_is_named_in_one_line(hub, bridge, tmp_path, monkeypatch):
    hub.add("us/bare", **{"pytorch_model.bin": b""})
    hub.add("us/text", **{"model.safetensors": b"no weights"})
    hub.add("us/emojis", **{"model.safetensors": bridge.read_bytes()})
    saved, file = read_denoiser(bridge), tmp_path / "a.safetensors"
    save_file(saved.weights, file)
    hub.add("us/foreign", **{"model.safetensors": file.read_bytes()})
    call = {"training": {"optimizer": {"_target_": "os.mkdir", "path": "made"}}}
    write_denoiser(file, saved._replace(config=saved.config | call))
    hub.add("us/call", **{"model.safetensors": file.read_bytes()})
    for source, message in {
        "hf://us/nobody": "no such repository that you may read",
        "hf://us/emojis@old": "no such revision",
        "hf://us/bare": "has no model.safetensors",
        "hf://us/text": "is not whole",
        "hf://us/foreign": "does not say how to rebuild its network",
        "hf://us/call": "training.optimizer._target_=os.mkdir is no class that a file may name",
        "hf://us/a/b": "the hub refuses hf://us/a/b (Repo id must be",
        "hf://": "the hub refuses hf://",
    }.items():
        assert message in error(hub.run(["evaluate.py", f"weights={source}"], tmp_path))


def test_nothing_is_pushed_that_is_not_whole_and_told_of_as_it_is(
    hub, bridge, tmp_path, monkeypatch
):
    saved = read_denoiser(bridge)
    key = next(iter(saved.weights))
    (tmp_path / "empty").mkdir()
    odd, other = tmp_path / "odd.safetensors", tmp_path / "other.safetensors"
    broken = saved.weights | {key: saved.weights[key] * torch.nan}
    write_denoiser(odd, saved._replace(weights=broken))
    write_denoiser(other, saved._replace(config=saved.config | {"license": "mine"}))
    results = sweep(tmp_path / "sweep", bridge)
    for words, message in (
        ((odd, "us/emojis"), f"{key} is not finite"),
        ((bridge, "us/emojis", "--results", tmp_path / "empty"), "no results.json under"),
        ((other, "us/emojis", "--results", results), f"has not the results of {other}"),
        ((other, "us/emojis"), "license mine is none"),
        ((bridge, "emojis"), "emojis names no owner"),
        ((bridge, "us/emojis/1"), "Repo id must be"),
        ((bridge, "them/emojis"), "you may not create them/emojis"),
    ):
        assert message in error(push(hub, tmp_path, *words))
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in error(push(hub, tmp_path, bridge, "us/emojis"))
    assert not any("preupload" in asked for asked in hub.asked)


def test_without_huggingface_hub_the_extra_is_named(hub, tmp_path, monkeypatch):
    (tmp_path / "load.py").write_text(f"import sys\nsys.modules['huggingface_hub'] = None\n{LOAD}")
    ended = load(hub, tmp_path, "hf://us/emojis")
    assert "pip install 'dbim-lightning[hub]'" in ended.text
