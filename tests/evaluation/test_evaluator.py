"""One job of evaluation: pairing by index, counted calls, baselines, independence of batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_data import ToyNetwork
from torch.utils.data import Subset

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VESchedule, VPSchedule
from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation import evaluator as evaluating
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.metrics import (
    Diversity,
    FeatureDistance,
    NearestTraining,
    PairedMetrics,
)
from dbim_lightning.evaluation.processes import start_processes
from dbim_lightning.evaluation.references import references
from dbim_lightning.evaluation.samples.generate import Generation
from dbim_lightning.evaluation.samples.shards import SampleShards
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import DBIM

IMAGES = torch.rand(9, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PAIRS = [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(IMAGES)]


class Averages(FeatureNetwork):
    """Features that are small enough to follow: the mean of each image's quarters."""

    num_features, name = 12, "lite0"

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


class Toy(ToyNetwork):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, c_noise, x_T):
        return super().forward(x, c_noise, x_T).to(x)


DENOISER = BridgeDenoiser(Toy(), VPSchedule(), DDBMPreconditioning()).eval()


def protocol(features=(), **options):
    distances = {f"distance{i}": FeatureDistance(network) for i, network in enumerate(features)}
    options = {"measured": {**distances, "paired": PairedMetrics()}, "baselines": True} | options
    return Protocol("toy", **options)


def evaluator(folder, features=(), pairs=PAIRS, origin=None, **options):
    splits = {"test": pairs, "train": pairs[::-1]}
    made = protocol(features, **options)
    return Evaluator(splits.__getitem__, made, folder=folder, origin=origin)


def run(judge, sampler, seed=0, batch_size=4, shards=None, png=None):
    """The outcome's row."""
    generation = judge.generation(DENOISER, sampler, seed, batch_size, shards)
    return judge.sampled(generation, png).row


def numbers(row):
    """What the images decide, time and place apart."""
    return {key: value for key, value in row.items() if key != "cost"}


def test_row_does_not_depend_on_batch_size_and_counts_calls(tmp_path):
    rows = [run(evaluator(tmp_path, [Averages()]), DBIM(5, eta=1), 0, size) for size in (9, 2)]
    for row in rows:
        assert row["cost"]["nfe_counted"] == 5
        per_image = row["cost"]["seconds"] / 9
        assert row["cost"]["seconds_per_image"] == pytest.approx(per_image)
    assert rows[0]["metrics"] == pytest.approx(rows[1]["metrics"], rel=1e-5)
    for name in ("source", "training targets"):
        first, second = (row["baselines"][name] for row in rows)
        assert first == pytest.approx(second, rel=1e-5, abs=1e-9)


def test_a_row_states_the_column_of_each_of_its_numbers(tmp_path):
    row = run(evaluator(tmp_path, [Averages()]), DBIM(2))
    assert row["columns"].keys() == row["metrics"].keys()
    assert row["columns"]["kid_lite0"]["title"] == "KID × 10³"
    assert row["columns"]["psnr"]["better"] == "↑"


def test_baselines_by_hand(tmp_path):
    baselines = run(evaluator(tmp_path, [Averages()]), DBIM(2))["baselines"]
    assert baselines["source"].keys() == {"kid_lite0", "fd_lite0", "mse", "psnr", "ssim"}
    assert baselines["training targets"].keys() == {"kid_lite0", "fd_lite0"}
    source, target = (to_uint8(IMAGES[:, k]).float() / 127.5 - 1 for k in (1, 0))
    assert baselines["source"]["mse"] == pytest.approx((source - target).square().mean().item())
    # the training targets of this test are the targets themselves
    assert baselines["training targets"]["fd_lite0"] == pytest.approx(0, abs=1e-6)


def test_training_targets_for_comparison_are_as_many_as_the_targets(tmp_path, caplog):
    seen = []

    class Counting(Averages):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    def without_training(split):
        if split == "train":
            raise UserError("no train pairs")
        return PAIRS

    judge = evaluator(tmp_path, [Counting()])
    judge.dataset = {"train": PAIRS * 3}.__getitem__
    assert judge.baselines.keys() == {"source", "training targets"}
    assert seen == [9, 9, 9]  # reference, sources, training targets
    judge = evaluator(tmp_path, [Counting()])
    judge.dataset = without_training
    assert run(judge, DBIM(2))["baselines"].keys() == {"source"}
    assert "no training targets for comparison: no train pairs" in caplog.text


def test_without_features_only_paired_metrics(tmp_path):
    row = run(evaluator(tmp_path), DBIM(2))
    assert row["metrics"].keys() == {"mse", "psnr", "ssim"}
    assert row["baselines"].keys() == {"source"}


def test_two_metrics_of_one_key_are_refused():
    with pytest.raises(UserError, match=r"metrics\.measured has mse, psnr, ssim twice"):
        Protocol("toy", measured={"one": PairedMetrics(), "two": PairedMetrics()})
    with pytest.raises(UserError, match=r"metrics\.rounding=up: choose nearest or down"):
        Protocol("toy", rounding="up")


def test_a_subset_keeps_each_images_own_noise():
    whole = torch.cat([b.samples for b in Generation(DBIM(3, 1), DENOISER, PAIRS, 0, 4)])
    some = next(iter(Generation(DBIM(3, 1), DENOISER, Subset(PAIRS, [7, 3]), 0, 2)))
    assert some.index.tolist() == [7, 3]
    assert torch.equal(some.samples, whole[[7, 3]])


def test_a_mask_keeps_what_is_known_and_labels_reach_the_network():
    class Labelled(Toy):
        def forward(self, x, c_noise, x_T, y):
            seen.append(y.tolist())
            return super().forward(x, c_noise, x_T)

    seen = []
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    pairs = [{**p, "x_T": p["x_0"] * (1 - mask), "mask": mask, "label": p["index"]} for p in PAIRS]
    denoiser = BridgeDenoiser(Labelled(), VESchedule(), DDBMPreconditioning()).eval()
    hole = mask.bool().expand(9, 3, -1, -1)
    (images,) = Generation(DBIM(3, eta=1), denoiser, pairs, 0, 9)
    assert torch.equal(images.samples[~hole], images.sources[~hole])
    assert not torch.equal(images.samples[hole], images.sources[hole])
    assert seen == [list(range(9))] * 3


@pytest.mark.parametrize("count", [9, 100])
def test_the_preview_shows_the_run_itself_and_two_more_noises_of_the_same_images(tmp_path, count):
    pairs = [{**PAIRS[i % 9], "index": i, "name": str(i)} for i in range(count)]
    judge = evaluator(tmp_path, pairs=pairs)
    generation = judge.generation(DENOISER, DBIM(3), 5)
    drawn = []
    counting = DENOISER.register_forward_hook(lambda _, arguments, __: drawn.append(arguments[0]))
    previews = judge.sampled(generation).previews
    counting.remove()
    shown = min(count, 12)
    assert sum(len(x) for x in drawn) == 3 * (count + 2 * shown)
    assert list(previews) == ["seed 5", "seed 6", "seed 7"]
    samples = torch.cat([images.samples for images in judge.generation(DENOISER, DBIM(3), 5)])
    first = previews["seed 5"]
    chosen = first.index.tolist()
    assert chosen == [i * count // shown for i in range(shown)]
    assert torch.equal(first.samples, samples[chosen])
    for other in ("seed 6", "seed 7"):
        assert previews[other].index.tolist() == chosen
        assert torch.equal(first.targets, previews[other].targets)
        assert not torch.equal(first.samples, previews[other].samples)


def test_published_images_are_cut_off_and_ours_rounded(tmp_path):
    rounded, cut = (
        next(iter(evaluator(tmp_path, rounding=how).generation(DENOISER, DBIM(3), 0))).samples.int()
        for how in ("nearest", "down")
    )
    assert (rounded - cut).unique().tolist() == [0, 1]


def test_how_near_training_targets_samples_and_targets_are(tmp_path):
    measured = {"nearest": NearestTraining(Averages())}
    judge = evaluator(tmp_path, measured=measured, nearest=True)
    outcome = judge.sampled(judge.generation(DENOISER, DBIM(2), 0))
    # the training targets of this test are the targets themselves
    assert outcome.row["baselines"]["targets"] == {"nearest_lite0": 0}
    assert outcome.row["metrics"]["nearest_lite0"] > 0.01
    assert len(dict(outcome.pictures["nearest_lite0"])["sample"]) == 9
    assert "nearest_lite0" not in run(evaluator(tmp_path, measured=measured), DBIM(2))["metrics"]


def test_what_has_no_training_targets_to_compare_with_says_so(tmp_path):
    measured = {"nearest": NearestTraining(Averages())}
    with pytest.raises(UserError, match="metrics=toy has no metric for it"):
        protocol(nearest=True)
    with pytest.raises(UserError, match=r"metrics.split=train: .* judge another split"):
        protocol(nearest=True, measured=measured, split="train")

    def without_training(split):
        if split == "train":
            raise UserError("no train pairs")
        return PAIRS

    with pytest.raises(UserError, match=r"metrics.nearest=true needs training pairs: no train"):
        Evaluator(without_training, protocol(nearest=True, measured=measured), folder=tmp_path)


def test_diversity_compares_several_noises_of_each_source(tmp_path, monkeypatch):
    measured = {"diversity": Diversity(Averages(), noises=3)}
    judge = evaluator(tmp_path, measured=measured, baselines=False, rounding="down")
    monkeypatch.setattr(evaluating, "SOURCES_OF_NOISES", 4)
    metrics = run(judge, DBIM(3, eta=1), 1)["metrics"]
    some, options = spread(PAIRS, 4), {"rounding": "down"}
    streams = [Generation(DBIM(3, 1), DENOISER, some, k, 9, **options) for k in (3, 4, 5)]
    seeds = [next(iter(stream)).samples for stream in streams]
    expected = torch.stack([x.double() / 127.5 for x in seeds]).std(dim=0).mean().item()
    assert metrics["diversity_pixel_std"] == pytest.approx(expected, rel=1e-9)
    assert metrics["afd_lite0"] > 0.01


class Numbers(PairedMetrics):
    """A metric that finds what it is told."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def compute(self, sums):
        return self.found


def test_numbers_are_plain_and_each_has_its_column(tmp_path):
    measured = {"numbers": Numbers({"mse": torch.tensor(0.5)})}
    row = run(evaluator(tmp_path, measured=measured), DBIM(2))
    assert json.loads(json.dumps(row))["metrics"] == {"mse": 0.5}
    judge = evaluator(tmp_path, measured={"numbers": Numbers({"mse": torch.zeros(2)})})
    with pytest.raises(UserError, match=r"Numbers\.compute gave tensor.*: give numbers"):
        run(judge, DBIM(2))
    judge = evaluator(tmp_path, measured={"numbers": Numbers({"other": 1.0})})
    with pytest.raises(UserError, match=r"Numbers\.compute gave other, but its columns are mse"):
        run(judge, DBIM(2))


def test_a_number_that_is_not_finite_is_named_once_where_it_is_found(tmp_path, caplog):
    measured = {"numbers": Numbers({"mse": 0.5, "psnr": torch.inf})}
    row = run(evaluator(tmp_path, measured=measured, baselines=False), DBIM(2))
    assert row["metrics"] == {"mse": 0.5, "psnr": torch.inf}
    assert [record.getMessage() for record in caplog.records] == [
        "Sampling at NFE 2: psnr of Numbers is inf, which results.json has as null and tables as –"
    ]


def test_a_metric_that_is_switched_off_is_left_out(tmp_path):
    measured = {"diversity": Diversity(Averages(), noises=0), "paired": PairedMetrics()}
    row = run(evaluator(tmp_path, measured=measured), DBIM(2))
    assert row["columns"].keys() == row["metrics"].keys() == {"mse", "psnr", "ssim"}


def test_kept_and_given_samples_give_the_same_row(tmp_path):
    judge = evaluator(tmp_path, [Averages()])
    shards = SampleShards(tmp_path / "samples", {"seed": 0})
    row = numbers(run(judge, DBIM(3, 1), shards=shards, png=tmp_path / "png"))
    (folder,) = (tmp_path / "samples").iterdir()
    assert (folder / "manifest.json").is_file()
    again = evaluator(tmp_path, [Averages()])
    given = again.given(tmp_path / "png")
    assert numbers(given.row) == row
    kept = next(iter(judge.generation(DENOISER, DBIM(3, 1), 0, shards=shards)))
    assert torch.equal(given.previews["given"].samples, kept.samples)


@pytest.mark.parametrize("batch_size", [7, 64])
def test_processes_give_the_numbers_of_one_even_where_one_has_no_images(tmp_path, batch_size):
    expected = outcome_of_many(tmp_path / "one", 64)
    code = "from tests.evaluation.test_evaluator import in_one_of_several; "
    code += f"in_one_of_several({str(tmp_path)!r}, {batch_size})"
    command = ["-m", "torch.distributed.run", "--nproc-per-node=3", "--standalone", "--no-python"]
    command = [sys.executable, *command, sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    helpers = root / "tests" / "helpers"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(helpers)}
    subprocess.run(command, cwd=root, env=environment, check=True)
    for rank in range(3):
        row, shown, made = torch.load(tmp_path / f"{rank}.pt")
        assert made == (rank == 0)  # the statistics of the reference are
        assert row["metrics"] == pytest.approx(expected.row["metrics"], rel=1e-6)
        for name, values in row["baselines"].items():
            approximately = pytest.approx(expected.row["baselines"][name], rel=1e-6, abs=1e-9)
            assert values == approximately
        difference = shown.int() - expected.previews["seed 0"].samples.int()
        assert difference.abs().max() <= 1


def outcome_of_many(folder, batch_size):
    """Of 100 images: two blocks."""
    pairs = [{**PAIRS[i % 9], "index": i, "name": str(i)} for i in range(100)]
    judge = evaluator(folder, [Averages()], pairs)
    return judge.sampled(judge.generation(DENOISER, DBIM(3, eta=1), 0, batch_size))


def in_one_of_several(folder, batch_size):
    start_processes()
    made, make = [], references.make_reference
    references.make_reference = lambda *args: made.append(args) or make(*args)
    outcome = outcome_of_many(Path(folder) / "several", batch_size)
    saved = (numbers(outcome.row), outcome.previews["seed 0"].samples, len(made))
    torch.save(saved, Path(folder) / f"{os.environ['RANK']}.pt")


@pytest.mark.parametrize("count", [0, 1, 10])
def test_impossible_number_of_images_is_refused(count):
    with pytest.raises(UserError, match=f"num_images={count}: use 2 to 9"):
        spread(PAIRS, count)


def test_a_reference_that_no_metric_asks_for_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"reference=x\.npz is for metrics in features, and metri"):
        evaluator(tmp_path, reference="x.npz")


def test_an_empty_batch_is_refused(tmp_path):
    with pytest.raises(UserError, match="batch_size=0: use 1 or more"):
        evaluator(tmp_path).generation(DENOISER, DBIM(2), 0, batch_size=0)
