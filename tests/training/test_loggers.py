"""The loggers of a training."""

from pathlib import Path

from dbim_lightning.training.loggers import make_loggers
from dbim_lightning.wandb_runs import group_of


def test_a_run_is_logged_as_csv_and_offline_without_login(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    folder = tmp_path / "first"
    csv, wandb_logger = make_loggers(folder, "test")
    assert Path(csv.log_dir) == folder / "logs"
    wandb_logger.experiment.log({"x": 1})
    assert wandb_logger.experiment.offline
    assert wandb_logger.experiment.group == group_of(folder / "checkpoints" / "last.ckpt")
    wandb_logger.experiment.finish()
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))


def test_disabled_leaves_csv_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(make_loggers(tmp_path, "test")) == 1
