import csv
import subprocess
import sys

from matplotlib.image import imread
from result_rows import cells, jobs_of, result, write

from dbim_lightning.evaluation.report.summary import summarise
from dbim_lightning.evaluation.report.table import table


def test_summarise_writes_table_and_plots_and_nothing_else(tmp_path):
    rows = [result(5, 0.0), result(20, 0.0, seconds=32.5, checkpoint="runs/a/last.ckpt")]
    assert summarise(write(tmp_path, rows)) == tmp_path / "summary.md"
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {"summary.png", "summary_cost.png"}
    assert names == {"sweep", "summary.csv", "summary.md"} | pictures
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == table(jobs_of(rows))
    assert {imread(tmp_path / name).shape[1] for name in pictures} == {1920}
    with (tmp_path / "summary.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["nfe"], first["sampler.eta"], first["metrics.mse"]) == ("5", "0.0", "0.055")
    assert second["cost.seconds_per_image"] == "32.5"
    assert second["origin.checkpoint"] == "runs/a/last.ckpt"
    assert second["baselines.training targets.fd_lite0"] == "67.5"
    assert not [name for name in first if name.startswith("columns")]


def test_jobs_without_metrics_are_a_table_without_plots(tmp_path):
    rows = [result(nfe, 0.0, columns={}, baselines={}) for nfe in (5, 10)]
    for row in rows:
        row["metrics"] = {}
    assert cells(summarise(write(tmp_path, rows)).read_text())[2:] == [
        ["5", "0.5000"],
        ["10", "0.5000"],
    ]
    assert not list(tmp_path.glob("*.png"))


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "utf8", "-m", "dbim_lightning.evaluation.report", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_command_prints_the_table_or_one_line(tmp_path):
    failed = run(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr == (
        f"error: no results.json under {tmp_path}: name the folder of an evaluation\n"
    )
    assert "usage" in run().stderr
    write(tmp_path, [result(5, 0.0)])
    assert run(tmp_path).stdout == table(jobs_of([result(5, 0.0)]))
