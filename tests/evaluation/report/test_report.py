import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dbim_lightning.evaluation.plot import plot
from dbim_lightning.evaluation.rows import collect, labels
from matplotlib.colors import same_color
from matplotlib.image import imread

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.report import summarise, table

REFERENCES = {
    "source": {"kid_lite0": 0.107, "fd_lite0": 113.5, "mse": 0.08, "psnr": 9.1, "ssim": 0.5},
    "train_targets": {"kid_lite0": 0.0082, "fd_lite0": 67.5},
}


def result(nfe: int, eta: float | None, **other) -> dict:
    row = {
        "sampler": "dbim",
        "nfe": nfe,
        "nfe_counted": nfe,
        "eta": eta,
        "seed": 0,
        "num_images": 358,
        "mse": 0.05 + nfe / 1000,
        "psnr": 14.25,
        "ssim": 0.7,
        "kid_lite0": 0.02 / nfe,
        "fd_lite0": 50.0 - nfe + (eta or 0),
        "seconds": 12.5 + nfe,
        "images_per_second": 30.0 - nfe,
        "checkpoint": "last.ckpt",
        "references": REFERENCES,
    }
    return row | other


def write(folder: Path, rows: list[dict]) -> Path:
    for i, row in enumerate(rows):
        job = folder / "sweep" / str(i)
        job.mkdir(parents=True)
        (job / "results.json").write_text(json.dumps(row))
    return folder


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_metrics_of_any_network_are_shown_kind_by_kind(tmp_path):
    networks = ("dinov2_large", "inception_clean", "inception_legacy_tensorflow")
    metrics = {f"kid_{network}": 0.5 for network in networks} | {"is_inception_clean": 3.0}
    metrics |= {"accuracy_resnet50": 0.724, "diversity_pixel_std": 0.1}
    rows = [result(nfe, 0.0, **metrics) for nfe in (2, 5)]
    titles = cells(table(rows))[0]
    expected = ["IS (clean) ↑", "accuracy ↑", "KID × 10³ (dinov2_large) ↓", "KID × 10³ (clean) ↓"]
    expected += [
        "KID × 10³ (legacy_tensorflow) ↓",
        "KID × 10³ ↓",
        "FD ↓",
        "MSE ↓",
        "PSNR ↑",
        "SSIM ↑",
        "pixel std ↑",
    ]
    assert titles == ["NFE", *expected]
    assert cells(table(rows))[2][2:4] == ["72.4", "500.00"]
    assert len(plot(rows).axes) == len(expected) - 2


def test_labels_name_what_varies_and_nfe(tmp_path):
    one = write(tmp_path / "one", [result(5, 0.0), result(2, 0.0)])
    assert list(labels(one).values()) == ["NFE 2", "NFE 5"]
    two = write(tmp_path / "two", [result(5, 1.0), result(5, 0.0)])
    assert labels(two) == {
        two / "sweep" / "1": "eta 0\nNFE 5",
        two / "sweep" / "0": "eta 1\nNFE 5",
    }


def test_rows_are_found_at_any_depth_and_sorted_by_settings_then_nfe(tmp_path):
    rows = [result(20, 1.0), result(5, 1.0), result(20, 0.0), result(100, 0.0), result(5, 0.0)]
    rows.append(result(5, None, sampler="ddbm"))
    (tmp_path / "results.json").write_text(json.dumps(result(3, 0.0)))
    found = collect(write(tmp_path, rows))
    assert [(row["sampler"], row["eta"], row["nfe"]) for row in found] == [
        ("dbim", 0.0, 3),
        ("dbim", 0.0, 5),
        ("dbim", 0.0, 20),
        ("dbim", 0.0, 100),
        ("dbim", 1.0, 5),
        ("dbim", 1.0, 20),
        ("ddbm", None, 5),
    ]


def test_table_shows_what_varies_and_the_references():
    text = table([result(5, 0.0), result(20, 0.0), result(5, 0.5)])
    header, rule, *rows = cells(text)
    assert header == ["eta", "NFE", "KID × 10³ ↓", "FD ↓", "MSE ↓", "PSNR ↑", "SSIM ↑"]
    assert rule == ["---:"] * 7
    assert rows == [
        ["0", "5", "4.00", "45.00", "0.0550", "14.25", "0.700"],
        ["0", "20", "1.00", "30.00", "0.0700", "14.25", "0.700"],
        ["0.5", "5", "4.00", "45.50", "0.0550", "14.25", "0.700"],
        ["source", "", "107.00", "113.50", "0.0800", "9.10", "0.500"],
        ["training targets", "", "8.20", "67.50", "–", "–", "–"],
    ]
    assert "358 images, sampler dbim, seed 0" in text.splitlines()[-1]


def test_table_shows_every_setting_that_varies_and_no_timing():
    rows = [
        result(5, 0.0, num_images=10, order=1),
        result(5, 0.0, num_images=20, order=2),
        result(5, 0.0, num_images=20, order=3, seed=1, seconds=99.0),
    ]
    header, _, first, second, third, *_ = cells(table(rows))
    assert header[:4] == ["order", "seed", "num_images", "NFE"]
    assert first[:4] == ["1", "0", "10", "5"]
    assert second[:4] == ["2", "0", "20", "5"]
    assert third[:4] == ["3", "1", "20", "5"]
    assert "images," not in table(rows)


def test_settings_that_only_tell_samplers_apart_stand_in_the_caption():
    rows = [
        result(5, 0.0, clip=True, grid="uniform"),
        result(5, 1.0, clip=True, grid="uniform"),
        result(5, None, sampler="ddbm", clip=True, grid="power rho=7.0", churn=0.33),
    ]
    header, _, *body = cells(table(rows))
    assert header[:3] == ["sampler", "eta", "NFE"]
    assert [line[:3] for line in body[:3]] == [
        ["dbim", "0", "5"],
        ["dbim", "1", "5"],
        ["ddbm", "–", "5"],
    ]
    caption = table(rows).splitlines()[-1]
    assert "All rows: 358 images, seed 0, clip True." in caption
    assert "dbim: grid uniform." in caption
    assert "ddbm: grid power rho=7.0, churn 0.33." in caption
    lines = [line.get_label() for line in plot(rows).axes[0].lines]
    assert lines[:3] == ["dbim, eta 0", "dbim, eta 1", "ddbm"]


def test_checkpoints_are_told_apart_by_what_differs_in_their_paths(tmp_path):
    paths = ["runs/a/vp/checkpoints/last.ckpt", "runs/b/ve/checkpoints/last.ckpt"]
    rows = [result(5, eta, checkpoint=path) for path in paths for eta in (0.0, 1.0)]
    header, _, first, _, third, *_ = cells(table(rows))
    assert header[:3] == ["eta", "checkpoint", "NFE"]
    assert (first[1], third[1]) == ("a/vp", "b/ve")
    assert "checkpoint a/vp" in plot(rows).axes[0].lines[0].get_label()
    assert "eta 1\ncheckpoint b/ve\nNFE 5" in labels(write(tmp_path, rows)).values()
    summarise(tmp_path)
    assert paths[0] in (tmp_path / "summary.csv").read_text()


def test_of_equal_jobs_the_newest_counts(tmp_path):
    write(tmp_path, [result(5, 0.0, mse=0.1), result(5, 1.0), result(5, 0.0, mse=0.3)])
    os.utime(tmp_path / "sweep" / "0" / "results.json", (2e9, 2e9))
    assert [(row["eta"], row["mse"]) for row in collect(tmp_path)] == [(0, 0.1), (1, 0.055)]


def test_table_shows_the_counted_nfe_only_where_it_differs():
    assert "NFE counted" not in table([result(5, 0.0)])
    header, _, row, *_ = cells(table([result(20, 0.0, nfe_counted=19)]))
    assert header[:2] == ["NFE", "NFE counted"]
    assert row[:2] == ["20", "19"]
    assert list(plot([result(20, 0.0, nfe_counted=19)]).axes[0].lines[0].get_xdata()) == [19]


def test_references_that_differ_among_jobs_are_all_shown():
    other = {"source": REFERENCES["source"] | {"mse": 0.2}}
    text = table([result(5, 0.0), result(10, 0.0), result(20, 0.0, references=other)])
    sources = [line for line in cells(text) if line[0] == "source"]
    assert [line[3] for line in sources] == ["0.0800", "0.2000"]


def test_a_metric_that_no_job_has_is_left_out():
    row = {key: value for key, value in result(5, 0.0).items() if not key.endswith("lite0")}
    row["references"] = {}
    assert cells(table([row])) == [
        ["NFE", "MSE ↓", "PSNR ↑", "SSIM ↑"],
        ["---:"] * 4,
        ["5", "0.0550", "14.25", "0.700"],
    ]
    assert [axes.get_title() for axes in plot([row]).axes] == ["MSE ↓", "SSIM ↑"]


def test_jobs_that_differ_by_seed_alone_are_one_row_with_its_deviation():
    rows = [result(5, 0.0, seed=seed, mse=mse) for seed, mse in ((0, 0.04), (1, 0.06), (2, 0.05))]
    rows += [result(2, 0.0, seed=seed) for seed in (0, 1, 2)]
    header, _, two, five, *_ = cells(table(rows))
    assert (len(rows), header[0], two[0], five[0]) == (6, "NFE", "5", "2")
    column = header.index("MSE ↓")
    assert (two[column], five[column]) == ("0.0500 ± 0.0100", "0.0520 ± 0.0000")
    assert "seed 0, 1, 2, mean ± standard deviation over seeds" in table(rows)
    panel = plot(rows).axes[2]
    assert panel.lines[0].get_label() == "dbim"
    low, high = panel.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.04, 0.06))
    rows = [result(5, 0.0, seed=seed, kid_lite0=kid) for seed, kid in ((0, 0.01), (1, 0.03))]
    assert cells(table(rows))[2][1] == "20.00 ± 14.14"
    low, high = plot(rows).axes[0].containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((20 - 200**0.5, 20 + 200**0.5))


def test_plot_has_a_line_per_setting_and_a_tick_per_nfe():
    rows = [result(nfe, eta) for eta in (0.0, 1.0) for nfe in (5, 20)]
    figure = plot(rows)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["KID × 10³ ↓", "FD ↓", "MSE ↓", "SSIM ↑"]
    kid, distance = figure.axes[:2]
    lines = {line.get_label(): line for line in distance.lines}
    assert list(lines["eta 0"].get_xdata()) == [5, 20]
    assert list(lines["eta 1"].get_ydata()) == [46.0, 31.0]
    assert list(kid.lines[0].get_ydata()) == pytest.approx([4.0, 1.0])
    assert not same_color(lines["eta 0"].get_color(), lines["eta 1"].get_color())
    assert distance.get_xscale() == "log"
    assert [tick.get_text() for tick in distance.get_xticklabels()] == ["5", "20"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["eta 0", "eta 1", "source", "training targets"]


def test_plot_draws_near_references_and_states_far_ones():
    kid, distance, mse, ssim = plot([result(nfe, 0.0) for nfe in (5, 20)]).axes

    def levels(axes):
        return {line.get_label(): line.get_ydata()[0] for line in axes.lines[1:]}

    def notes(axes):
        return [text.get_text() for text in axes.texts]

    assert levels(kid) == {"training targets": pytest.approx(8.2)}
    assert notes(kid) == ["source 107"]
    assert levels(distance) == {"training targets": 67.5}
    assert levels(mse) == {"source": 0.08}
    assert notes(mse) == [""]
    assert notes(ssim) == ["source 0.5"]


def test_far_apart_values_get_a_log_axis():
    kid, distance, *_ = plot([result(5, 0.0, kid_lite0=0.2), result(20, 0.0, kid_lite0=0.01)]).axes
    assert (kid.get_yscale(), distance.get_yscale()) == ("log", "linear")
    below_zero = plot([result(5, 0.0, kid_lite0=0.2), result(20, 0.0, kid_lite0=-0.01)]).axes[0]
    assert below_zero.get_yscale() == "linear"


def test_panels_keep_their_height_under_a_long_legend():
    few, many = (
        plot([result(nfe, 0.0, seed=seed) for nfe in (5, 20) for seed in range(n)]) for n in (2, 20)
    )
    heights = []
    for figure in (few, many):
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert heights[1] > 0.9 * heights[0]


def test_crowded_ticks_keep_their_mark_and_lose_their_label():
    axes = plot([result(nfe, 0.0) for nfe in (5, 6, 7, 18, 20, 100)]).axes[0]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["5", "", "7", "18", "", "100"]


def test_summarise_writes_three_files_and_nothing_else(tmp_path):
    rows = [result(5, 0.0), result(20, 0.0)]
    assert summarise(write(tmp_path, rows)) == tmp_path / "summary.md"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"sweep", "summary.csv", "summary.md", "summary.png"}
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == table(rows)
    assert imread(tmp_path / "summary.png").shape[1] == 1920
    with (tmp_path / "summary.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["nfe"] == "5"
    assert second["seconds"] == "32.5"
    assert second["references.train_targets.fd_lite0"] == "67.5"
    assert "references" not in first


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json under"):
        collect(tmp_path)
    path = tmp_path / "results.json"
    for content, message in [("{", "not JSON"), ("[]", "lacks"), ('{"nfe": 5}', "lacks sampler")]:
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            collect(tmp_path)


def test_jobs_without_metrics_are_a_table_without_a_plot(tmp_path):
    job = {"sampler": "dbim", "nfe": 5}
    write(tmp_path, [job, job | {"nfe": 10}])
    assert cells(summarise(tmp_path).read_text())[2:] == [["5"], ["10"]]
    assert not (tmp_path / "summary.png").exists()
    with pytest.raises(UserError, match="no result row holds a metric"):
        plot(collect(tmp_path))
    assert len(plot([job | {"psnr": 20.0}]).axes) == 1


def test_what_is_not_the_same_job_stays_apart(tmp_path):
    short, long = {"checkpoint": "a/last.ckpt"}, {"checkpoint": "a/a/last.ckpt"}
    rows = [
        result(2, 0.0, dataset="A", listed=[1], checkpoint_sha256="1", **long),
        result(2, 0.0, dataset="B", listed=[1], checkpoint_sha256="1", **long),
        result(2, 0.0, dataset="A", listed=[1], checkpoint_sha256="2", **short),
        result(2, 0.0, dataset="A", listed=[1], checkpoint_sha256="3", **short, seed=1),
    ]
    body = cells(table(collect(write(tmp_path, rows))))[2:6]
    expected = [["a/last.ckpt", "A"], ["a/last.ckpt", "B"], ["last.ckpt", "A"], ["last.ckpt", "A"]]
    assert [line[1:3] for line in body] == expected


def test_seeds_that_lack_a_metric_or_are_infinite_do_not_pretend(tmp_path):
    infinite = {"psnr": float("inf")}
    rows = [result(2, 0.0, diversity_lite0=3.0, **infinite), result(2, 0.0, seed=1, **infinite)]
    header, _, line, *_ = cells(table(rows))
    assert "diversity ↑" not in header
    assert line[header.index("PSNR ↑")] == "inf ± nan"
    plot(rows)


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
    assert run(tmp_path).stdout == table([result(5, 0.0)])
