"""The loggers of a training."""

import csv
import json
import resource
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

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


def log(folder, rows, step=None):
    """Logs (step, metrics) as Lightning does; returns steps and losses of the file."""
    (logger,) = make_loggers(folder, "test", step)
    for number, metrics in rows:
        logger.log_metrics(metrics, number)
    logger.save()
    with (folder / "logs" / "metrics.csv").open() as file:
        return [(int(r["step"]), r.get("loss") or r["eval"]) for r in csv.DictReader(file)]


TRAINED = [(step, {"loss": step / 10, "epoch": 0}) for step in range(5)]
EVALUATED = [(step, {"eval": step / 100}) for step in (2, 4)]


@pytest.mark.parametrize(("step", "kept"), [(3, [0, 1, 2, 2]), (4, [0, 1, 2, 3, 2, 4])])
def test_a_run_that_goes_on_keeps_the_rows_before_and_makes_later_ones_again(
    monkeypatch, tmp_path, step, kept
):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    before = log(tmp_path, TRAINED + EVALUATED)
    with (tmp_path / "logs" / "metrics.csv").open("a") as file:
        file.write("0,")  # torn, as by a kill
    with (tmp_path / "logs" / "metrics.csv").open("ab") as file:
        file.write(b"\xff\xfe\x00")  # as by a disk
    after = log(tmp_path, [(step, {"loss": 9.0, "epoch": 0, "new": 1})], step)
    assert [number for number, _ in after] == [*kept, step]
    assert after[:-1] == [row for row in before if row in after]
    assert after[-1] == (step, "9.0")


@pytest.mark.parametrize(("names", "torn"), [(["loss"], "0.3,"), (["loss", "val"], "0.3,1")])
def test_a_torn_row_is_left_out_wherever_it_ends(monkeypatch, tmp_path, names, torn):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    row = dict.fromkeys(names, 0.5)
    log(tmp_path, [(step, row) for step in range(2)])
    with (tmp_path / "logs" / "metrics.csv").open("a") as file:
        file.write(torn)
    assert log(tmp_path, [(5, row)], 4) == [(0, "0.5"), (1, "0.5"), (5, "0.5")]


def test_a_finished_run_keeps_its_last_validation(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    log(tmp_path, TRAINED)  # the last row is of a validation after 4 steps
    (tmp_path / "training.json").write_text(json.dumps({"step": 4}))
    assert [number for number, _ in log(tmp_path, [], 4)] == [0, 1, 2, 3, 4]
    (tmp_path / "training.json").write_text(json.dumps({"step": 3}))  # gone on with since
    assert [number for number, _ in log(tmp_path, [], 4)] == [0, 1, 2, 3]


def test_a_run_that_does_not_go_on_has_its_own_file(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    log(tmp_path, TRAINED)
    assert log(tmp_path, EVALUATED) == [(2, "0.02"), (4, "0.04")]


def test_wandb_goes_on_with_its_own_run_and_a_branch_is_another(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    ids = []
    for folder, step in (("a", None), ("a", 3), ("b", 3), ("b", None)):
        _, logger = make_loggers(tmp_path / folder, "test", step)
        ids.append(logger.experiment.id)
        logger.experiment.finish()
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_wandb_is_not_sent_again_what_a_killed_run_has_sent(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sent = []
    monkeypatch.setattr(WandbLogger, "log_metrics", lambda self, metrics, step: sent.append(step))
    for step, rows in ((None, range(5)), (3, range(3, 7))):  # killed after 5 steps, saved at 3
        table, logger = make_loggers(tmp_path, "test", step)
        for number in rows:
            for each in (table, logger):
                each.log_metrics({"loss": 0.5, "epoch": 0}, number)
        table.save()
        logger.experiment.finish()
    assert sent == [0, 1, 2, 3, 4, 5, 6]
    with (tmp_path / "logs" / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == sent


def test_rows_that_cannot_be_written_wait(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (logger,) = make_loggers(tmp_path, "test")
    logger.log_metrics({"loss": 0.1}, 0)
    path, away = tmp_path / "logs" / "metrics.csv", tmp_path / "away.csv"
    path.rename(away)
    path.mkdir()
    with pytest.warns(UserWarning, match=r"cannot write .*metrics\.csv .*the rows wait") as told:
        for step in (1, 2):
            logger.log_metrics({"loss": 0.1}, step)
    assert len(told) == 1
    path.rmdir()
    away.rename(path)
    logger.log_metrics({"loss": 0.1, "val": 0.2}, 3)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["val"] for row in rows] == ["", "", "", "0.2"]
    path.rename(away)  # by somebody, who finds the rows from then on in a file of its own
    logger.log_metrics({"loss": 0.3, "val": 0.4}, 4)
    assert path.read_text().splitlines() == ["loss,step,val", "0.3,4,0.4"]
    path.unlink()
    path.mkdir()
    with pytest.warns(UserWarning, match="the rows wait"):  # for the second time
        logger.log_metrics({"loss": 0.1}, 5)


def test_a_row_for_which_there_is_room_in_part_waits_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (logger,) = make_loggers(tmp_path, "test")
    logger.log_metrics({"loss": 0.1}, 0)
    path = tmp_path / "logs" / "metrics.csv"
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, hard))
    try:
        with pytest.warns(UserWarning, match=r"cannot write .*metrics\.csv"):
            logger.log_metrics({"loss": 0.2}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    logger.log_metrics({"loss": 0.3}, 2)
    with path.open() as file:
        rows = [(row["step"], row["loss"]) for row in csv.DictReader(file)]
    assert rows == [("0", "0.1"), ("1", "0.2"), ("2", "0.3")]
