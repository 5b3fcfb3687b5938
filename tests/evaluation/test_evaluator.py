"""One job of evaluation: pairing by index, counted calls, references, independence of batches."""

import pytest
import torch
from golden_data import ToyNetwork
from torch.utils.data import Subset

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VESchedule, VPSchedule
from dbim_lightning.data import spread
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator
from dbim_lightning.evaluation.generate import Generation
from dbim_lightning.pictures import save_sheet, to_uint8
from dbim_lightning.samplers import DBIM

IMAGES = torch.rand(9, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PAIRS = [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(IMAGES)]


class Averages(torch.nn.Module):
    """Features that are small enough to follow: the mean of each image's quarters."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


class Toy(ToyNetwork):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, c_noise, x_T):
        return super().forward(x, c_noise, x_T).to(x)


def evaluator(batch_size, features=None):
    denoiser = BridgeDenoiser(Toy(), VPSchedule(), DDBMPreconditioning()).eval()
    return Evaluator(denoiser, PAIRS, PAIRS[::-1], features, batch_size)


def test_row_does_not_depend_on_batch_size_and_counts_calls():
    rows = [evaluator(size, Averages()).run(DBIM(5, eta=1), seed=0) for size in (9, 2)]
    for row in rows:
        del row["seconds"], row["images_per_second"]
        assert row["nfe_counted"] == 5
        assert row["num_images"] == 9
    references = [row.pop("references") for row in rows]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)
    for name in ("source", "train_targets"):
        assert references[0][name] == pytest.approx(references[1][name], rel=1e-5, abs=1e-9)


def test_references_by_hand():
    references = evaluator(4, Averages()).run(DBIM(2), seed=0)["references"]
    source, target = (to_uint8(IMAGES[:, k]).float() / 127.5 - 1 for k in (1, 0))
    assert references["source"]["mse"] == pytest.approx((source - target).square().mean().item())
    # the training targets of this test are the targets themselves
    assert references["train_targets"]["fd_lite0"] == pytest.approx(0, abs=1e-6)


def test_without_features_only_paired_metrics():
    row = evaluator(4).run(DBIM(2), seed=0)
    assert not {"kid_lite0", "fd_lite0"} & row.keys()
    assert row["references"].keys() == {"source"}


def test_a_subset_keeps_each_images_own_noise():
    denoiser = evaluator(4).denoiser
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


def test_preview_rows_differ_by_booting_noise():
    previews = evaluator(4).preview(DBIM(3), [0, 1], count=4)
    assert previews["seed 0"].index.tolist() == [0, 2, 5, 8]
    assert torch.equal(previews["seed 0"].targets, previews["seed 1"].targets)
    assert not torch.equal(previews["seed 0"].samples, previews["seed 1"].samples)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_impossible_number_of_images_is_refused(count):
    with pytest.raises(UserError, match=f"num_images={count}: use 2 to 9"):
        spread(PAIRS, count)


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
