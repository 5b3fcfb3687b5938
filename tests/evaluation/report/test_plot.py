import math
from itertools import pairwise

import pytest
from matplotlib.colors import same_color
from result_rows import COLUMNS, jobs_of, result

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics import Column
from dbim_lightning.evaluation.report.plot import SECONDS_PER_IMAGE, plot


def plot_of(rows, *axis):
    return plot(jobs_of(rows), *axis)


def test_plot_has_a_line_per_setting_and_a_tick_per_nfe():
    rows = [result(nfe, eta) for eta in (0.0, 1.0) for nfe in (5, 20)]
    figure = plot_of(rows)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["KID × 10³ ↓", "FD ↓", "MSE ↓", "SSIM ↑"]
    kid, distance = figure.axes[:2]
    lines = {line.get_label(): line for line in distance.lines}
    assert list(lines["eta 0"].get_xdata()) == [5, 20]
    assert list(lines["eta 1"].get_ydata()) == [46.0, 31.0]
    assert list(kid.lines[0].get_ydata()) == pytest.approx([4.0, 1.0])
    assert not same_color(lines["eta 0"].get_color(), lines["eta 1"].get_color())
    assert distance.get_xscale() == "log"
    assert distance.get_xlabel() == "NFE"
    assert [tick.get_text() for tick in distance.get_xticklabels()] == ["5", "20"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["eta 0", "eta 1", "source", "training targets"]


def test_metrics_are_drawn_against_seconds_per_image_where_they_are_known():
    rows = [result(nfe, 0.0, seconds=nfe / 100) for nfe in (5, 20)]
    rows.append(result(50, 0.0))
    del rows[-1]["cost"]["seconds_per_image"]
    kid = plot_of(rows, SECONDS_PER_IMAGE).axes[0]
    assert kid.get_xlabel() == "seconds per image"
    assert list(kid.lines[0].get_xdata()) == [0.05, 0.2]
    assert list(kid.lines[0].get_ydata()) == pytest.approx([4.0, 1.0])


def test_a_metric_that_nobody_knows_has_its_own_panel():
    columns = {"is_new": Column("novelty", 1, "↑", unit="%", scale=100)}
    rows = [result(nfe, 0.0, columns=columns, baselines={}) for nfe in (2, 5)]
    for row in rows:
        row["metrics"] = {"is_new": row["nfe"] / 10}
    (axes,) = plot_of(rows).axes
    assert axes.get_title() == "novelty, % ↑"
    assert list(axes.lines[0].get_ydata()) == [20, 50]


def test_plot_draws_near_baselines_and_states_far_ones():
    kid, distance, mse, ssim = plot_of([result(nfe, 0.0) for nfe in (5, 20)]).axes

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
    far = [result(5, 0.0, metrics={"kid_lite0": 0.2}), result(20, 0.0, metrics={"kid_lite0": 0.01})]
    kid, distance, *_ = plot_of(far).axes
    assert (kid.get_yscale(), distance.get_yscale()) == ("log", "linear")
    below_zero = [far[0], result(20, 0.0, metrics={"kid_lite0": -0.01})]
    assert plot_of(below_zero).axes[0].get_yscale() == "linear"


def test_panels_keep_their_height_under_a_long_legend():
    few, many = (
        plot_of([result(nfe, 0.0, order=order) for nfe in (5, 20) for order in range(n)])
        for n in (2, 20)
    )
    heights = []
    for figure in (few, many):
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert heights[1] > 0.9 * heights[0]


def ticks(axes):
    """Left and right edge of each label below an axis, in px, from left to right."""
    axes.figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
    low, high = axes.get_window_extent().intervalx
    return sorted((b.x0, b.x1) for b in boxes if low - 1 <= (b.x0 + b.x1) / 2 <= high + 1)


@pytest.mark.parametrize("seconds", [(0.018, 0.032), (0.02, 0.021), (0.005, 0.17), (0.01, 0.05)])
def test_labels_of_seconds_do_not_touch(seconds):
    rows = [result(nfe, 0.0, seconds=s) for nfe, s in zip((2, 50), seconds, strict=True)]
    for axes in plot_of(rows, SECONDS_PER_IMAGE).axes:
        found = ticks(axes)
        assert len(found) >= 2
        assert all(left[1] < right[0] for left, right in pairwise(found))


@pytest.mark.parametrize("length", [30, 90, 300])
def test_long_names_of_lines_stay_in_the_picture(length):
    rows = [result(5, 0.0, option=f"{i} {'word ' * (length // 5)}") for i in range(3)]
    figure = plot_of(rows)
    figure.draw_without_rendering()
    box, width = figure.legends[0].get_window_extent(), figure.bbox.width
    assert box.x0 >= 0
    assert box.x1 <= width
    assert box.y0 >= 0
    panel = figure.axes[0].get_position().height * figure.get_figheight()
    assert panel > 1


def test_crowded_ticks_keep_their_mark_and_lose_their_label():
    axes = plot_of([result(nfe, 0.0) for nfe in (5, 6, 7, 18, 20, 100)]).axes[0]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["5", "", "7", "18", "", "100"]


def test_the_counted_nfe_is_drawn_and_samplers_that_differ_have_their_names():
    row = result(20, 0.0, nfe_counted=19)
    assert list(plot_of([row]).axes[0].lines[0].get_xdata()) == [19]
    rows = [result(5, 0.0), result(5, 1.0), result(5, None, sampler="dbim_lightning.X")]
    labels = [line.get_label() for line in plot_of(rows).axes[0].lines]
    assert labels[:3] == ["dbim, eta 0", "dbim, eta 1", "x"]
    paths = ["runs/a/vp/checkpoints/last.ckpt", "runs/b/ve/checkpoints/last.ckpt"]
    rows = [result(5, 0.0, checkpoint=path) for path in paths]
    assert plot_of(rows).axes[0].lines[0].get_label() == "checkpoint a/vp"


def test_seeds_are_one_point_with_an_error_bar():
    rows = [
        result(5, 0.0, seed=k, metrics={"mse": mse}) for k, mse in enumerate((0.04, 0.06, 0.05))
    ]
    panel = plot_of(rows).axes[2]
    assert panel.lines[0].get_label() == "dbim"
    low, high = panel.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.04, 0.06))
    rows = [result(5, 0.0, seed=k, metrics={"kid_lite0": v}) for k, v in enumerate((0.01, 0.03))]
    low, high = plot_of(rows).axes[0].containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((20 - 200**0.5, 20 + 200**0.5))


def test_only_what_is_to_be_plotted_is_and_infinite_values_do_no_harm():
    plot_of([result(5, 0.0, metrics={"psnr": math.inf})])
    row = result(5, 0.0, columns={"psnr": COLUMNS["psnr"]})
    row["metrics"] = {"psnr": 20.0}
    with pytest.raises(UserError, match="no result row holds a metric to plot"):
        plot_of([row])
