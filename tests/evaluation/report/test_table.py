import math

from result_rows import BASELINES, COLUMNS, cells, jobs_of, result

from dbim_lightning.evaluation.metrics import Column
from dbim_lightning.evaluation.report.table import table


def table_of(rows):
    return table(jobs_of(rows))


def test_table_shows_what_varies_the_cost_and_the_baselines():
    text = table_of([result(5, 0.0), result(20, 0.0, seconds=0.0123), result(5, 0.5)])
    header, rule, *rows = cells(text)
    metrics = ["KID × 10³ ↓", "FD ↓", "MSE ↓", "PSNR, dB ↑", "SSIM ↑"]
    assert header == ["eta", "NFE", *metrics, "s / image ↓"]
    assert rule == ["---:"] * 8
    assert rows == [
        ["0", "5", "4.00", "45.00", "0.0550", "14.25", "0.700", "0.5000"],
        ["0", "20", "1.00", "30.00", "0.0700", "14.25", "0.700", "0.0123"],
        ["0.5", "5", "4.00", "45.50", "0.0550", "14.25", "0.700", "0.5000"],
        ["source", "", "107.00", "113.50", "0.0800", "9.10", "0.500", "–"],
        ["training targets", "", "8.20", "67.50", "–", "–", "–", "–"],
    ]
    caption = text.splitlines()[-1]
    assert caption.startswith("All rows: 358 images, sampler dbim, seed 0, protocol toy")
    assert caption.endswith(" KID and FD are in features of its own.")


def test_a_metric_that_nobody_knows_has_its_own_column():
    columns = {"is_new": Column("novelty", 1, "↑", unit="%", scale=100)}
    rows = [result(nfe, 0.0, columns=columns, baselines={}) for nfe in (2, 5)]
    for row in rows:
        row["metrics"] = {"is_new": 0.5}
    assert cells(table_of(rows))[0] == ["NFE", "novelty, % ↑", "s / image ↓"]
    assert cells(table_of(rows))[2] == ["2", "50.0", "0.5000"]


def test_table_shows_every_setting_that_varies():
    rows = [
        result(5, 0.0, num_images=10, order=1),
        result(5, 0.0, num_images=20, order=2),
        result(5, 0.0, num_images=20, order=3, seed=1),
    ]
    header, _, first, second, third, *_ = cells(table_of(rows))
    assert header[:4] == ["order", "seed", "num_images", "NFE"]
    assert first[:4] == ["1", "0", "10", "5"]
    assert second[:4] == ["2", "0", "20", "5"]
    assert third[:4] == ["3", "1", "20", "5"]
    assert "images," not in table_of(rows)


def test_protocols_that_differ_in_one_option_are_told_apart_by_it():
    rows = [result(5, 0.0) for _ in range(2)]
    rows[1]["protocol"] = {"name": "toy", "split": "test", "measured": {"paired": {"resize": 64}}}
    header, _, first, second, *_ = cells(table_of(rows))
    assert header[:2] == ["resize", "NFE"]
    assert (first[0], second[0]) == ("–", "64")


def test_settings_that_only_tell_samplers_apart_stand_in_the_caption():
    grid = {"_target_": "dbim_lightning.samplers.grids.Karras", "rho": 7.0}
    rows = [
        result(5, 0.0, clip=True, grid="uniform"),
        result(5, 1.0, clip=True, grid="uniform"),
        result(5, None, sampler="dbim_lightning.X", clip=True, grid=grid, churn=0.33),
    ]
    text = table_of(rows)
    header, _, *body = cells(text)
    assert header[:3] == ["sampler", "eta", "NFE"]
    assert [line[:3] for line in body[:3]] == [
        ["dbim", "0", "5"],
        ["dbim", "1", "5"],
        ["x", "–", "5"],
    ]
    caption = text.splitlines()[-1]
    assert "All rows: 358 images, clip True, seed 0, protocol toy, split test." in caption
    assert "dbim: grid uniform." in caption
    assert "x: grid karras, rho 7, churn 0.33." in caption


def test_checkpoints_are_told_apart_by_what_differs_in_their_paths():
    paths = ["runs/a/vp/checkpoints/last.ckpt", "runs/b/ve/checkpoints/last.ckpt"]
    rows = [result(5, eta, checkpoint=path) for path in paths for eta in (0.0, 1.0)]
    header, _, first, _, third, *_ = cells(table_of(rows))
    assert header[:3] == ["eta", "checkpoint", "NFE"]
    assert (first[1], third[1]) == ("a/vp", "b/ve")


def test_table_shows_the_counted_nfe_only_where_it_differs():
    assert "NFE counted" not in table_of([result(5, 0.0)])
    header, _, row, *_ = cells(table_of([result(20, 0.0, nfe_counted=19)]))
    assert header[:2] == ["NFE", "NFE counted"]
    assert row[:2] == ["20", "19"]


def test_baselines_that_differ_among_jobs_are_all_shown():
    other = {"source": BASELINES["source"] | {"mse": 0.2}}
    text = table_of([result(5, 0.0), result(10, 0.0), result(20, 0.0, baselines=other)])
    sources = [line for line in cells(text) if line[0] == "source"]
    assert [line[3] for line in sources] == ["0.0800", "0.2000"]


def test_baselines_of_several_kinds_of_jobs_say_whose_they_are():
    other = {"source": BASELINES["source"] | {"mse": 0.2}}
    few = {"source": {"mse": 0.08}}
    rows = [result(5, eta, num_images=10) for eta in (0.0, 1.0)]
    rows += [result(5, 0.0, num_images=20, baselines=other)]
    rows += [result(5, 0.5, num_images=10, baselines=few)]  # the same, with fewer metrics
    header, _, *lines = cells(table_of(rows))
    mse = header.index("MSE ↓")
    sources = [(line[0], line[mse]) for line in lines if line[0].startswith("source")]
    assert sources == [("source (num_images 10)", "0.0800"), ("source (num_images 20)", "0.2000")]


def test_the_caption_says_what_the_protocol_had_changed():
    row = result(5, 0.0)
    row["protocol"] |= {"rounding": "down", "reference": "mine.npz"}
    caption = table_of([row]).splitlines()[-1]
    assert "protocol toy, split test, rounding down, reference mine.npz" in caption


def test_a_number_that_no_job_has_is_left_out():
    row = result(5, 0.0, baselines={})
    row["metrics"] = {key: value for key, value in row["metrics"].items() if "lite0" not in key}
    row["cost"] = {}
    assert cells(table_of([row])) == [
        ["NFE", "MSE ↓", "PSNR, dB ↑", "SSIM ↑"],
        ["---:"] * 4,
        ["5", "0.0550", "14.25", "0.700"],
    ]


def test_jobs_that_differ_by_seed_alone_are_one_row_with_its_deviation():
    rows = [
        result(5, 0.0, seed=k, metrics={"mse": mse}) for k, mse in enumerate((0.04, 0.06, 0.05))
    ]
    rows += [result(2, 0.0, seed=seed) for seed in (0, 1, 2)]
    text = table_of(rows)
    header, _, two, five, *_ = cells(table_of(rows[3:] + rows[:3]))
    assert (header[0], two[0], five[0]) == ("NFE", "2", "5")
    column = header.index("MSE ↓")
    assert (two[column], five[column]) == ("0.0520 ± 0.0000", "0.0500 ± 0.0100")
    assert "seed 0, 1, 2" in text
    assert "mean ± standard deviation over seeds" in text
    rows = [result(5, 0.0, seed=k, metrics={"kid_lite0": v}) for k, v in enumerate((0.01, 0.03))]
    assert cells(table_of(rows))[2][1] == "20.00 ± 14.14"


def test_seeds_of_which_one_lacks_a_metric_or_is_infinite_do_not_pretend():
    columns = COLUMNS | {"diversity": Column("diversity", 2, "↑")}
    psnr = (20.0, math.inf)
    rows = [result(2, 0.0, seed=k, metrics={"psnr": psnr[k]}, columns=columns) for k in (0, 1)]
    rows[0]["metrics"]["diversity"] = 3.0
    header, _, line, *_ = cells(table_of(rows))
    assert line[header.index("PSNR, dB ↑")] == "–"
    assert "diversity ↑" not in header
