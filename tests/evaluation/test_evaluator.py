"""One job of evaluation: pairing by index, counted calls, references, independence of batches."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dbim_lightning.evaluation.generate import Generation
from golden_data import ToyNetwork
from torch.utils.data import Subset

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VESchedule, VPSchedule
from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation import evaluator as evaluating
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.pictures import save_sheet, to_uint8
from dbim_lightning.samplers import DBIM, Karras

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


def evaluator(folder, batch_size=4, features=(), pairs=PAIRS, **options):
    denoiser = BridgeDenoiser(Toy(), VPSchedule(), DDBMPreconditioning()).eval()
    splits = {"test": pairs, "train": pairs[::-1]}
    protocol = Protocol("toy", features=features, paired={}, context=True)
    protocol = replace(protocol, **options)
    return Evaluator(denoiser, splits.__getitem__, protocol, batch_size=batch_size, folder=folder)


def numbers(row):
    """What the images decide, time and place apart."""
    costs = {"seconds", "images_per_second", "peak_memory_gb"}
    return {key: value for key, value in row.items() if key not in costs}


def test_row_does_not_depend_on_batch_size_and_counts_calls(tmp_path):
    rows = [
        numbers(evaluator(tmp_path, size, [Averages()]).run(DBIM(5, eta=1), 0)) for size in (9, 2)
    ]
    for row in rows:
        assert row["nfe_counted"] == 5
        assert row["num_images"] == 9
    references = [row.pop("references") for row in rows]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)
    for name in ("source", "train_targets"):
        assert references[0][name] == pytest.approx(references[1][name], rel=1e-5, abs=1e-9)


def test_references_by_hand(tmp_path):
    judge = evaluator(tmp_path, features=[Averages()])
    references = judge.run(DBIM(2), 0)["references"]
    assert references["source"].keys() == {"kid_lite0", "fd_lite0", "mse", "psnr", "ssim"}
    assert references["train_targets"].keys() == {"kid_lite0", "fd_lite0"}
    source, target = (to_uint8(IMAGES[:, k]).float() / 127.5 - 1 for k in (1, 0))
    assert references["source"]["mse"] == pytest.approx((source - target).square().mean().item())
    # the training targets of this test are the targets themselves
    assert references["train_targets"]["fd_lite0"] == pytest.approx(0, abs=1e-6)


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

    judge = evaluator(tmp_path, features=[Counting()])
    judge.dataset = {"train": PAIRS * 3}.__getitem__
    assert judge._context.keys() == {"source", "train_targets"}
    assert seen == [9, 9, 9]  # reference, sources, training targets
    judge = evaluator(tmp_path, features=[Counting()])
    judge.dataset = without_training
    assert judge.run(DBIM(2), 0)["references"].keys() == {"source"}
    assert "no training targets for comparison: no train pairs" in caplog.text


def test_samples_are_kept_apart_by_all_that_they_depend_on(tmp_path, monkeypatch):
    class Another(DBIM):
        pass

    plain, other_data = evaluator(tmp_path), evaluator(tmp_path)
    other_data.origin = {"checkpoint_sha256": "1"}
    streams = [
        plain.samples(DBIM(2), 0, keep=True),
        plain.samples(DBIM(2), 1, keep=True),
        plain.samples(DBIM(3), 0, keep=True),
        plain.samples(DBIM(2, eta=1), 0, keep=True),
        plain.samples(DBIM(2, grid=Karras()), 0, keep=True),
        plain.samples(DBIM(2, grid=Karras(3)), 0, keep=True),
        plain.samples(Another(2), 0, keep=True),
        other_data.samples(DBIM(2), 0, keep=True),
        evaluator(tmp_path, truncates=True).samples(DBIM(2), 0, keep=True),
        evaluator(tmp_path, split="train").samples(DBIM(2), 0, keep=True),
        evaluator(tmp_path, pairs=PAIRS[:8]).samples(DBIM(2), 0, keep=True),
    ]
    assert len({stream.shards.hash for stream in streams}) == len(streams)
    monkeypatch.setattr(evaluating, "LARGE", 9)
    for pairs, kept in ((PAIRS[:8], 0), (PAIRS, 1)):
        evaluator(tmp_path / "large", pairs=pairs).run(DBIM(2), 0)
        assert len(list((tmp_path / "large").glob("samples/*/*-*.npz"))) == kept


def test_references_are_kept_apart_by_all_that_they_depend_on(tmp_path):
    class Weighted(Averages):
        def __init__(self, name="lite0", weight=1.0):
            super().__init__()
            self.name, self.weight = name, torch.nn.Parameter(torch.tensor(weight))

    def count(network, **origin):
        judge = evaluator(tmp_path, features=[network])
        judge.origin = origin
        judge.references  # noqa: B018
        return len(list((tmp_path / "references").glob("*.npz")))

    assert count(Weighted()) == count(Weighted()) == 1
    assert count(Weighted("other")) == 2
    assert count(Weighted(weight=2.0)) == 3
    assert count(Weighted(), dataset={"root": "elsewhere"}) == 4
    assert count(Weighted(), versions={"torch": "3"}) == 5


def test_other_images_become_the_reference_where_the_protocol_says_so(tmp_path):
    options = {"features": [Averages()], "context": False}
    judge = evaluator(tmp_path, reference_options={"names": None}, **options)
    others = [{**pair, "x_0": pair["x_0"] / 2} for pair in PAIRS]
    judge.dataset = lambda split, **options: others if options else PAIRS
    expected = evaluator(tmp_path, pairs=others, **options).references[0].mean
    assert torch.equal(judge.references[0].mean, expected)


def test_without_features_only_paired_metrics(tmp_path):
    row = evaluator(tmp_path).run(DBIM(2), 0)
    assert not {"kid_lite0", "fd_lite0"} & row.keys()
    assert row["references"].keys() == {"source"}


def test_a_subset_keeps_each_images_own_noise(tmp_path):
    denoiser = evaluator(tmp_path).denoiser
    whole = torch.cat([b.samples for b in Generation(DBIM(3, 1), denoiser, PAIRS, 0, 4)])
    some = next(iter(Generation(DBIM(3, 1), denoiser, Subset(PAIRS, [7, 3]), 0, 2)))
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


def test_preview_rows_differ_by_booting_noise(tmp_path):
    previews = evaluator(tmp_path).preview(DBIM(3), [0, 1], count=4)
    assert previews["seed 0"].index.tolist() == [0, 2, 5, 8]
    assert torch.equal(previews["seed 0"].targets, previews["seed 1"].targets)
    assert not torch.equal(previews["seed 0"].samples, previews["seed 1"].samples)


def test_reference_statistics_are_computed_once_and_follow_the_images(tmp_path):
    seen = []

    class Counting(Averages):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    first = evaluator(tmp_path, features=[Counting()], context=False).run(DBIM(2), 0)
    computed = len(seen)
    again = evaluator(tmp_path, features=[Counting()], context=False).run(DBIM(2), 0)
    assert len(seen) - computed == computed - 1
    assert numbers(again) == numbers(first)
    others = [{**pair, "x_0": pair["x_0"] / 2} for pair in PAIRS]
    evaluator(tmp_path, features=[Counting()], context=False, pairs=others).run(DBIM(2), 0)
    assert len(list((tmp_path / "references").glob("*.npz"))) == 2


def test_a_given_reference_is_taken(tmp_path):
    pixels = np.stack([to_uint8(x[0]).permute(1, 2, 0).numpy() for x in IMAGES])
    np.savez(tmp_path / "given.npz", arr_0=pixels)
    options = {"features": [Averages()], "context": False}
    given = evaluator(tmp_path, reference=str(tmp_path / "given.npz"), **options)
    given, own = (judge.run(DBIM(2), 0) for judge in (given, evaluator(tmp_path, **options)))
    for name in ("fd_lite0", "kid_lite0"):
        assert given[name] == pytest.approx(own[name], rel=1e-6)


def test_a_protocol_for_other_data_says_so(tmp_path):
    options = {"features": [Averages()], "reference_options": {"names": None}}
    with pytest.raises(UserError, match="metrics=toy is for data with the options names"):
        evaluator(tmp_path, **options).run(DBIM(2), 0)


def test_published_images_are_cut_off_and_ours_rounded(tmp_path):
    rounded = evaluator(tmp_path).samples(DBIM(3), 0)
    cut = evaluator(tmp_path, truncates=True).samples(DBIM(3), 0)
    difference = next(iter(rounded)).samples.int() - next(iter(cut)).samples.int()
    assert difference.unique().tolist() == [0, 1]


def test_diversity_compares_several_noises_of_each_source(tmp_path, monkeypatch):
    options = {"context": False, "diversity": 3, "truncates": True}
    judge = evaluator(tmp_path, features=[Averages()], **options)
    monkeypatch.setattr(evaluating, "DIVERSITY_SOURCES", 4)
    row = judge.run(DBIM(3, eta=1), 1)
    some, options = spread(PAIRS, 4), {"truncates": True}
    streams = [Generation(DBIM(3, 1), judge.denoiser, some, k, 9, **options) for k in (3, 4, 5)]
    seeds = [next(iter(stream)).samples for stream in streams]
    expected = torch.stack([x.double() / 127.5 for x in seeds]).std(dim=0).mean().item()
    assert row["diversity_pixel_std"] == pytest.approx(expected, rel=1e-9)
    assert row["diversity_lite0"] > 0.01
    with pytest.raises(UserError, match=r"metrics\.diversity=1: 2 or more"):
        Protocol("toy", features=[Averages()], diversity=1)


def test_kept_and_given_samples_give_the_same_row(tmp_path):
    judge = evaluator(tmp_path, features=[Averages()])
    row = numbers(judge.run(DBIM(3, 1), 0, keep=True, png=tmp_path / "png"))
    (folder,) = (tmp_path / "samples").iterdir()
    assert (folder / "manifest.json").is_file()
    again = evaluator(tmp_path, features=[Averages()])
    again.denoiser = None
    given = numbers(again.run_given(tmp_path / "png"))
    assert {key: row[key] for key in given} == given


@pytest.mark.parametrize("batch_size", [7, 64])
def test_processes_give_the_numbers_of_one_even_where_one_has_no_images(tmp_path, batch_size):
    expected = numbers(evaluation_of_many(tmp_path / "one", 64))
    code = "from tests.evaluation.test_evaluator import in_one_of_several; "
    code += f"in_one_of_several({str(tmp_path)!r}, {batch_size})"
    command = ["-m", "torch.distributed.run", "--nproc-per-node=3", "--standalone", "--no-python"]
    command = [sys.executable, *command, sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'tests'}"}
    subprocess.run(command, cwd=root, env=environment, check=True)
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt")
        references = found.pop("references")
        assert found == pytest.approx({k: expected[k] for k in found}, rel=1e-6)
        for name, values in references.items():
            assert values == pytest.approx(expected["references"][name], rel=1e-6, abs=1e-9)


def evaluation_of_many(folder, batch_size):
    """Of 100 images: two blocks."""
    pairs = [{**PAIRS[i % 9], "index": i, "name": str(i)} for i in range(100)]
    judge = evaluator(folder, batch_size, [Averages()], pairs)
    return judge.run(DBIM(3, eta=1), 0, keep=True)


def in_one_of_several(folder, batch_size):
    row = numbers(evaluation_of_many(Path(folder) / "several", batch_size))
    torch.save(row, Path(folder) / f"{os.environ['RANK']}.pt")


@pytest.mark.parametrize("count", [0, 1, 10])
def test_impossible_number_of_images_is_refused(count):
    with pytest.raises(UserError, match=f"num_images={count}: use 2 to 9"):
        spread(PAIRS, count)


def test_an_empty_batch_is_refused(tmp_path):
    with pytest.raises(UserError, match="batch_size=0: use 1 or more"):
        evaluator(tmp_path, batch_size=0)


def test_uint8_rounds_and_clamps():
    x = torch.tensor([-1.5, -1.0, 0.0, 1 / 255, 1.0, 2.0])
    assert to_uint8(x).tolist() == [0, 0, 128, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)


def test_sheet_shows_rows_in_order(tmp_path):
    from PIL import Image  # noqa: PLC0415

    rows = {
        name: torch.full((2, 3, 8, 8), level, dtype=torch.uint8)
        for name, level in (("source", 0), ("target", 200))
    }
    save_sheet(tmp_path / "folder" / "sheet.png", rows)
    picture = Image.open(tmp_path / "folder" / "sheet.png").convert("L")
    column = picture.width * 3 // 4
    assert picture.getpixel((column, picture.height // 4)) == 0
    assert picture.getpixel((column, picture.height * 3 // 4)) == 200
