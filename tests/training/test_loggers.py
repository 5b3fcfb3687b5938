"""W&B never asks and never waits."""

from pathlib import Path

import pytest

from dbim_lightning.training.loggers import _logged_in, make_loggers


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_a_key_or_netrc_entry_counts_as_logged_in(monkeypatch, tmp_path):
    assert not _logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert _logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not _logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert _logged_in()


def test_offline_without_login(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    csv, wandb_logger = make_loggers(tmp_path, "test")
    assert Path(csv.log_dir) == tmp_path / "logs"
    wandb_logger.experiment.log({"x": 1})
    assert wandb_logger.experiment.offline
    wandb_logger.experiment.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_disabled_leaves_csv_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(make_loggers(tmp_path, "test")) == 1


def test_unreachable_server_falls_back_to_offline(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("dbim_lightning.training.loggers.INIT_TIMEOUT_S", 3)
    with pytest.warns(UserWarning, match="W&B cannot be reached"):
        _, wandb_logger = make_loggers(tmp_path, "test")
    assert wandb_logger.experiment.offline
    wandb_logger.experiment.finish()
