"""What samples are compared with: targets, other images, a file; kept apart and found again."""

import numpy as np
import pytest
import torch
from picture_files import picture, save
from torch.utils.data import Dataset

from dbim_lightning.data import spread
from dbim_lightning.data.images import read_image, to_tensor
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.evaluation.features import FeatureNetwork
from dbim_lightning.evaluation.metrics import FeatureDistance
from dbim_lightning.evaluation.references.references import References
from dbim_lightning.pictures import to_uint8

IMAGES = torch.rand(9, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PAIRS = [{"x_0": x[0], "x_T": x[1], "index": i, "name": str(i)} for i, x in enumerate(IMAGES)]
HALVED = [{**pair, "x_0": pair["x_0"] / 2} for pair in PAIRS]
CPU = torch.device("cpu")


class Averages(FeatureNetwork):
    """The mean of each quarter of an image, times a weight."""

    num_features = 12

    def __init__(self, name="averages", weight=1.0):
        super().__init__()
        self.name = name
        self.weight = torch.nn.Parameter(torch.tensor(weight), requires_grad=False)
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        means = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2)
        return self.weight * means.flatten(1)


def references(folder, pairs=PAIRS, file=None, **origin):
    return References(pairs, file, folder, origin, CPU)


def test_they_are_kept_apart_by_all_that_they_depend_on(tmp_path):
    def count(network, pairs=PAIRS, **origin):
        references(tmp_path, pairs, **origin)(network)
        return len(list(tmp_path.glob("*.npz")))

    assert count(Averages()) == count(Averages()) == 1
    assert count(Averages("other")) == 2
    assert count(Averages(weight=2.0)) == 3
    assert count(Averages(), dataset={"root": "elsewhere"}) == 4
    assert count(Averages(), versions={"torch": "3"}) == 5
    assert count(Averages(), HALVED) == 6
    assert count(Averages(), PAIRS[:8]) == 7


def test_they_are_computed_once_and_found_again(tmp_path):
    first, second, third = Averages(), Averages(), Averages()
    computed = references(tmp_path)
    computed(first)
    assert torch.equal(computed(first).mean, references(tmp_path)(second).mean)
    references(tmp_path, HALVED)(third)
    assert (first.seen, second.seen, third.seen) == (9, 0, 9)


def test_a_file_is_that_of_the_first_network_that_asks(tmp_path):
    pixels = np.stack([to_uint8(x[0]).permute(1, 2, 0).numpy() for x in IMAGES / 2])
    np.savez(tmp_path / "given.npz", arr_0=pixels)
    given = references(tmp_path / "kept", file=str(tmp_path / "given.npz"))
    expected = references(tmp_path / "kept", HALVED)(Averages())
    for _ in range(2):
        torch.testing.assert_close(given(Averages()).mean, expected.mean, rtol=1e-12, atol=0)
    own = references(tmp_path / "kept")(Averages("other"))
    assert torch.equal(given(Averages("other")).mean, own.mean)
    assert not torch.equal(own.mean, expected.mean)


def evaluator(folder, dataset, **options):
    metric = FeatureDistance(Averages())
    return Evaluator(dataset, Protocol("toy", measured={"d": metric}, **options), folder=folder)


def test_other_images_become_the_reference_where_the_protocol_says_so(tmp_path):
    def dataset(split, **options):
        return HALVED if options else PAIRS

    judge = evaluator(tmp_path, dataset, reference_options={"names": None})
    halved = judge._blocks(HALVED, "x_0")
    assert judge.judge(halved, "")["fd_averages"] == pytest.approx(0, abs=1e-9)
    whole = judge._blocks(PAIRS, "x_0")
    assert judge.judge(whole, "")["fd_averages"] > 0.001


def test_a_protocol_for_other_data_says_so(tmp_path):
    with pytest.raises(UserError, match="metrics=toy is for data with the options names"):
        evaluator(tmp_path, {"test": PAIRS}.__getitem__, reference_options={"names": None})


class Folder(Dataset):
    """Pairs of equal images from files, which it states or not."""

    def __init__(self, folder, states_files):
        self.paths = sorted(folder.glob("*.png"))
        if states_files:
            self.files = self.paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = to_tensor(read_image(self.paths[index]))
        return {"x_0": image, "x_T": image, "index": index, "name": self.paths[index].stem}


@pytest.mark.parametrize("states_files", [False, True])
def test_targets_that_were_replaced_are_judged_as_in_a_fresh_folder(tmp_path, states_files):
    images, kept, fresh = tmp_path / "images", tmp_path / "kept", tmp_path / "fresh"
    for i in range(40):
        save(images / f"{i:02}.png", picture(16, 16, 3, seed=i) // 2)

    def numbers(folder):
        judge = evaluator(folder, lambda split: Folder(images, states_files))
        samples = [{**pair, "x_T": pair["x_0"].roll(4, 2)} for pair in Folder(images, False)]
        return judge.judge(judge._blocks(samples, "x_T"), "")

    before = numbers(kept)
    checked = spread(range(40), 16).indices  # all that earlier versions looked at
    for i in [i for i in range(40) if i not in checked]:
        save(images / f"{i:02}.png", picture(16, 16, 3, seed=100 + i) // 2 + 127)
    assert numbers(kept) == numbers(fresh) != before
    assert numbers(kept) == numbers(fresh)
    assert len(list((kept / "references").glob("*.npz"))) == 2


def test_the_options_of_the_reference_keep_it_apart(tmp_path):
    for names in (None, "a.txt", None):
        evaluator(tmp_path, lambda split, names="": PAIRS, reference_options={"names": names})
    assert len(list((tmp_path / "references").glob("*.npz"))) == 2
