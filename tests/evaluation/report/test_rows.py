"""Rows of jobs: what tells them apart, and nothing is told from the letters of a key."""

import csv
import json
import math
import os

import pytest
from result_rows import COLUMNS, cells, jobs_of, result, write

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics import Column
from dbim_lightning.evaluation.report.plot import plot
from dbim_lightning.evaluation.report.results import ASKED, plain, read_row, same_job
from dbim_lightning.evaluation.report.rows import (
    find_jobs,
    job_of,
    labels,
    over_seeds,
    varying,
)
from dbim_lightning.evaluation.report.summary import summarise
from dbim_lightning.evaluation.report.table import table

OTHER = "others.Other"


def found(folder):
    return list(find_jobs(folder).values())


def settings(job, *keys):
    return tuple(job.settings.get(key) for key in keys)


def test_rows_are_found_at_any_depth_and_sorted_by_settings_then_nfe(tmp_path):
    rows = [result(20, 1.0), result(5, 1.0), result(20, 0.0), result(100, 0.0), result(5, 0.0)]
    rows.append(result(5, None, sampler=OTHER))
    (tmp_path / "results.json").write_text(json.dumps(result(3, 0.0)))
    jobs = found(write(tmp_path, rows))
    assert [(*settings(job, "sampler", "sampler.eta"), job.nfe) for job in jobs] == [
        ("dbim", 0.0, 3),
        ("dbim", 0.0, 5),
        ("dbim", 0.0, 20),
        ("dbim", 0.0, 100),
        ("dbim", 1.0, 5),
        ("dbim", 1.0, 20),
        (OTHER, None, 5),
    ]


@pytest.mark.parametrize("option", ["is_strict", "fd_weight", "kid_size", "mse", "nfe", "seed"])
def test_a_samplers_option_is_a_setting_whatever_it_is_called(tmp_path, option):
    rows = [result(5, 0.0, sampler=OTHER, **{}) for _ in range(2)]
    for row, value in zip(rows, (True, False), strict=True):
        row["sampler"][option] = value
    jobs = found(write(tmp_path, rows))
    assert [job.settings[f"sampler.{option}"] for job in jobs] == [False, True]
    header, _, *body = cells(table(jobs))
    assert [line[header.index(option)] for line in body[:2]] == ["False", "True"]
    (tmp_path / "multirun.yaml").touch()
    os.utime(tmp_path / "multirun.yaml", (0, 0))
    assert same_job(tmp_path, asked(rows[0])) == tmp_path / "sweep" / "0"
    assert same_job(tmp_path, asked(rows[1])) == tmp_path / "sweep" / "1"


def test_a_metric_that_nobody_knows_is_averaged_over_seeds():
    columns = COLUMNS | {"eta_of_moon": Column("moon", 1, "↑")}
    rows = [result(5, 0.0, seed=k, metrics={"eta_of_moon": k}, columns=columns) for k in (1, 2)]
    (job,) = over_seeds(jobs_of(rows))
    assert job.numbers["eta_of_moon"] == 1.5
    assert job.spread["eta_of_moon"] == pytest.approx(0.5**0.5)
    assert job.settings["seed"] == "1, 2"


def test_parts_of_this_project_go_by_their_short_names_and_others_in_full():
    grid = {"_target_": "dbim_lightning.samplers.grids.Karras", "rho": 7.0}
    job = job_of(result(5, 0.0, grid=grid, other={"_target_": "mine.Grid"}))
    shown = settings(job, "sampler", "sampler.grid", "sampler.grid.rho", "sampler.other")
    assert shown == ("dbim", "karras", 7.0, "mine.Grid")


def test_the_sampler_of_given_samples_is_their_path():
    row = result(5, None) | {"sampler": "images/of/others"}
    assert job_of(row).settings["sampler"] == "images/of/others"


def test_labels_name_what_varies_and_nfe(tmp_path):
    one = write(tmp_path / "one", [result(5, 0.0), result(2, 0.0)])
    assert list(labels(find_jobs(one)).values()) == ["NFE 2", "NFE 5"]
    two = write(tmp_path / "two", [result(5, 1.0), result(5, 0.0)])
    assert labels(find_jobs(two)) == {
        two / "sweep" / "1": "eta 0\nNFE 5",
        two / "sweep" / "0": "eta 1\nNFE 5",
    }


def test_of_the_same_job_done_again_the_newest_counts(tmp_path):
    rows = [result(5, 0.0, metrics={"mse": 0.1}), result(5, 1.0)]
    write(tmp_path, [*rows, result(5, 0.0, metrics={"mse": 0.3})])
    os.utime(tmp_path / "sweep" / "0" / "results.json", (2e9, 2e9))
    jobs = [(job.settings["sampler.eta"], job.numbers["mse"]) for job in found(tmp_path)]
    assert jobs == [(0, 0.1), (1, 0.055)]


def asked(row):
    return {key: row[key] for key in ASKED}


def test_the_same_job_is_one_that_was_asked_the_same_since_the_sweep_began(tmp_path):
    write(tmp_path, [result(5, 0.0)])
    (tmp_path / "multirun.yaml").touch()
    same = asked(result(5, 0.0, metrics={"mse": 1.0}, seconds=9))
    for begin, found in ((1e9, tmp_path / "sweep" / "0"), (3e9, None)):
        os.utime(tmp_path / "multirun.yaml", (begin, begin))
        assert same_job(tmp_path, same) == found
    os.utime(tmp_path / "multirun.yaml", (1e9, 1e9))
    others = [result(5, 1.0), result(6, 0.0), result(5, 0.0, seed=1), result(5, 0.0, num_images=3)]
    others += [result(5, 0.0, checkpoint_sha256="1"), result(5, 0.0, precision="bfloat16")]
    others.append(result(5, 0.0) | {"protocol": {"name": "toy", "split": "train"}})
    assert [same_job(tmp_path, asked(row)) for row in others] == [None] * len(others)


def test_whole_numbers_are_the_same_with_and_without_a_point(tmp_path):
    jobs = found(write(tmp_path, [result(5, 0.0), result(5, 0), result(5, 1.0), result(5, 0.5)]))
    assert [job.settings["sampler.eta"] for job in jobs] == [0, 0.5, 1]


def test_jobs_with_long_seeds_or_options_of_like_texts_are_not_one(tmp_path):
    rows = [result(5, 0.0, seed=seed) for seed in (12345678901, 12345678902)]
    rows += [result(5, 0.0, seed=1, flag=flag) for flag in (True, "True", None)]
    jobs = found(write(tmp_path, rows))
    assert len(jobs) == 5
    assert "12345678901, 12345678902" in table(jobs)


def test_protocols_of_two_names_are_told_apart_by_these_alone():
    rows = [result(5, 0.0) for _ in range(3)]
    rows[1]["protocol"] = {"name": "other", "split": "train", "measured": {"a": {"resize": 64}}}
    assert varying(jobs_of(rows[:2])) == ["protocol.name"]
    rows[2]["protocol"] = rows[1]["protocol"] | {"split": "test"}
    assert varying(jobs_of(rows)) == ["protocol.name", "protocol.split"]


def test_settings_with_one_last_part_go_by_their_whole_keys():
    rows = [result(5, 0.0, seed=seed) for seed in (0, 1)]
    for row, seed in zip(rows, (3, 4), strict=True):
        row["sampler"]["seed"] = seed
    jobs = jobs_of(rows)
    assert varying(jobs) == ["sampler.seed", "seed"]
    assert cells(table(jobs))[0][:3] == ["sampler.seed", "seed", "NFE"]


def test_what_is_not_the_same_job_stays_apart(tmp_path):
    short, long = {"checkpoint": "a/last.ckpt"}, {"checkpoint": "a/a/last.ckpt"}
    rows = [
        result(2, 0.0, dataset="A", checkpoint_sha256="1", **long),
        result(2, 0.0, dataset="B", checkpoint_sha256="1", **long),
        result(2, 0.0, dataset="A", checkpoint_sha256="2", **short),
        result(2, 0.0, dataset="A", checkpoint_sha256="3", **short, seed=1),
    ]
    header, _, *body = cells(table(found(write(tmp_path, rows))))
    columns = [header.index(name) for name in ("seed", "checkpoint", "dataset")]
    expected = [
        ["0", "a/last.ckpt", "A"],
        ["0", "a/last.ckpt", "B"],
        ["0", "last.ckpt (2)", "A"],
        ["1", "last.ckpt (3)", "A"],
    ]
    assert [[line[i] for i in columns] for line in body[:4]] == expected


def test_bad_folders_and_files_of_earlier_versions_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json under"):
        find_jobs(tmp_path)
    path = tmp_path / "results.json"
    flat = json.dumps({"sampler": "dbim", "nfe": 5, "mse": 0.1})
    part = json.dumps({"format": 2, "sampler": "dbim", "nfe": 5, "metrics": {}, "columns": {}})
    for content, message in [
        ("{", "is not whole"),
        ("[]", "holds a list, no object"),
        (flat, "no result row of format 2, but of an earlier version .*: evaluate this job again"),
        (part, "lacks baselines, cost, num_images, origin, protocol, seed: evaluate this job"),
    ]:
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            find_jobs(tmp_path)


@pytest.mark.parametrize("unknown", [math.inf, math.nan, None])
def test_what_is_not_finite_is_unknown_everywhere(tmp_path, unknown):
    rows = [result(5, 0.0), result(10, 0.0, metrics={"mse": unknown, "psnr": unknown})]
    for row in rows:
        row["baselines"] = {"source": {"mse": unknown, "ssim": 0.5}}
    rows[0]["cost"]["seconds_per_image"] = unknown
    folder = write(tmp_path, rows)  # with NaN and Infinity, as earlier versions did
    assert read_row(folder / "sweep/1/results.json")["metrics"]["mse"] is None
    header, _, *body = cells(summarise(folder).read_text(encoding="utf-8"))
    mse, psnr, seconds = map(header.index, ("MSE ↓", "PSNR, dB ↑", "s / image ↓"))
    assert [line[mse] for line in body] == ["0.0550", "–", "–"]
    assert [line[psnr] for line in body] == ["14.25", "–", "–"]
    assert [line[seconds] for line in body] == ["–", "0.5000", "–"]
    assert {path.name for path in folder.glob("*.png")} == {"summary.png", "summary_cost.png"}
    first, second = csv.DictReader((folder / "summary.csv").open(encoding="utf-8"))
    assert (first["metrics.mse"], second["metrics.mse"]) == ("0.055", "")
    assert table(jobs_of(rows)) == (folder / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["mse", "seconds_per_image"])
def test_a_number_that_no_job_has_is_a_column_without_a_plot(tmp_path, key):
    rows = [result(nfe, 0.0, columns={"mse": COLUMNS["mse"]}, baselines={}) for nfe in (5, 10)]
    for row in rows:
        row["metrics"] = {"mse": 0.1}
        row["metrics" if key == "mse" else "cost"][key] = math.nan
    folder = write(tmp_path, rows)
    summarise(folder)
    plots = [] if key == "mse" else ["summary.png"]
    assert [path.name for path in folder.glob("*.png")] == plots


def test_settings_that_json_does_not_have_are_text_and_found_again(tmp_path):
    row = result(5, 0.0, limit=math.inf)
    what = plain(asked(row))
    assert what["sampler"]["limit"] == "inf"
    folder = write(tmp_path, [row | what])
    (folder / "multirun.yaml").touch()
    os.utime(folder / "multirun.yaml", (0, 0))
    assert same_job(folder, what) == folder / "sweep" / "0"


def test_a_path_that_is_no_unicode_is_shown_by_escapes(tmp_path):
    rows = [
        result(5, 0.0, dataset={"root": "a\udcff"}, seed=1),
        result(5, 0.0, dataset={"root": 2}),
    ]
    folder = write(tmp_path, rows)
    assert "a\\udcff" in summarise(folder).read_text(encoding="utf-8")
    assert "a\\udcff" in (folder / "summary.csv").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.glob("*.png")) == ["summary.png", "summary_cost.png"]
    given = result(5, None) | {"sampler": "/s\udcff"}
    assert "/s\\udcff" in plot(jobs_of([given])).legends[0].get_texts()[0].get_text()
