"""W&B never asks and never waits."""

import time

import pytest
import wandb

from dbim_lightning import wandb_runs
from dbim_lightning.wandb_runs import _logged_in, group_of, log_once, start


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_a_key_or_netrc_entry_counts_as_logged_in(monkeypatch, tmp_path):
    assert not _logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert _logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not _logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert _logged_in()


def test_disabled_starts_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert start(lambda **_: pytest.fail("started")) is None


def test_an_unreachable_server_means_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_runs, "INIT_TIMEOUT_S", 3)
    with pytest.warns(UserWarning, match="W&B cannot be reached"):
        run = start(lambda **mode: wandb.init(project="test", dir=tmp_path, **mode))
    assert run.offline
    run.finish()


def test_one_thing_is_logged_offline_without_login(tmp_path):
    log_once(tmp_path, {"eval/mse": 0.125}, project="test", group="run")
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    end = time.monotonic() + 30  # wandb's own process may still be writing
    while b"eval/mse" not in (records := file.read_bytes()) and time.monotonic() < end:
        time.sleep(0.1)
    assert b"0.125" in records


def test_a_training_and_its_checkpoints_are_one_group(tmp_path):
    assert group_of(tmp_path / "first" / "checkpoints" / "last.ckpt") == "first"
    assert group_of(tmp_path / "mine.safetensors") == "mine"
