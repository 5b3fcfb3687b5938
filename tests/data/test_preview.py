import sys

import pytest
import torch
from picture_files import as_strips, picture, some_pairs
from PIL import Image
from torch.utils.data import Dataset

from dbim_lightning.bridge import DDBMPreconditioning
from dbim_lightning.data import Pair, preview
from dbim_lightning.data.statistics import statistics
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import save_histograms


class Related(Dataset):
    """Gaussian pairs of known moments, far inside [-1, 1]."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Pair:
        if index >= len(self):
            raise IndexError
        z = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(index))
        x_0 = 0.1 + 0.2 * z[0]
        return Pair(x_0=x_0, x_T=-0.2 + 0.5 * x_0 + 0.1 * z[1], index=index, name=f"{index}")


def test_statistics_are_those_of_the_pixels():
    found = statistics(Related())
    expected = {"mean x_0": 0.1, "mean x_T": -0.15, "std x_0": 0.2, "std x_T": 0.02**0.5}
    expected |= {"covariance": 0.02, "MSE(x_T, x_0)": 0.04 + 0.02 - 2 * 0.02 + 0.25**2}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-3), name
    pixels = torch.stack([torch.stack([pair["x_0"], pair["x_T"]]) for pair in Related()])
    assert (found["lowest"], found["highest"]) == (pixels.min().item(), pixels.max().item())


def run(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["preview", *words])
    preview.main()


def test_the_command_draws_and_measures(tmp_path, monkeypatch, capsys):
    as_strips(tmp_path / "strips/train", some_pairs(7, 32, 32))
    as_strips(tmp_path / "strips/val", some_pairs(1, 32, 32))
    sheet = tmp_path / "new" / "sheet.png"
    data = [f"dataset.root={tmp_path / 'strips'}", "dataset.image_size=32"]
    run(monkeypatch, "dataset=paired_folder", *data, "-o", str(sheet))
    said = capsys.readouterr().out
    assert "train: 7 pairs of 32x32, of which 7" in said
    assert "assumed: sigma_data 0.5, sigma_data_end 0.5, cov_xy 0.0" in said
    with Image.open(sheet) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 1000
    run(
        monkeypatch,
        "dataset=paired_folder",
        *data,
        "statistics.sigma_data=0.2",
        "--split=test",
        "-o",
        str(sheet),
    )
    said = capsys.readouterr().out
    assert "test: 1 pairs of 32x32, of which 1" in said
    assert "give statistics.sigma_data=0.5" in said
    assert "1 groups of pairs that belong together" in said
    with Image.open(sheet.with_stem("sheet_levels")) as image:
        assert (0, 0, 0) in {colour for _, colour in image.convert("RGB").getcolors(1 << 16)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=paired_folder"], r"give dataset\.root=\.\.\."),
        (["dataset=unknown"], "Could not find 'dataset/unknown'"),
        (["dataset=packed", "dataset.root=nowhere"], "no packed pairs in nowhere"),
        (["dataset=openmoji", "--split=all"], "OpenMoji has no split 'all'"),
    ],
)
def test_what_the_command_refuses(monkeypatch, words, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, *words)


@pytest.mark.parametrize("deviations", [(0.54321, 0.54322), (0.1234567, 0.7)])
def test_advised_statistics_are_accepted_by_training(deviations):
    x_0, x_T = deviations
    found = {"std x_0": x_0, "std x_T": x_T, "covariance": x_0 * x_T * (1 - 1e-9)}
    assumed = {"sigma_data": 0.9, "sigma_data_end": 0.9, "cov_xy": 0.0}
    advice = preview.hint(found, assumed)
    words = advice[advice.index("statistics.") :].split()
    given = {word.split("=")[0].split(".")[1]: float(word.split("=")[1]) for word in words}
    assert DDBMPreconditioning(**given).cov_xy == pytest.approx(x_0 * x_T, rel=1e-3)


def test_groups_and_files_that_two_splits_share_are_counted(tmp_path, monkeypatch, capsys):
    pairs = some_pairs(4, 32, 32)
    as_strips(tmp_path / "train", pairs)
    as_strips(tmp_path / "val", {"copy": pairs["000"], "other": picture(2, 32, 32, 3, seed=9)})
    options = [f"dataset.root={tmp_path}", "dataset.image_size=32", "-o", str(tmp_path / "a.png")]
    run(monkeypatch, "dataset=paired_folder", *options)
    said = capsys.readouterr().out
    assert "4 groups of pairs that belong together" in said
    assert "1 identical files stand in two splits" in said


def test_levels_are_drawn_in_their_places(tmp_path):
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[..., :2] = 200
    save_histograms(tmp_path / "a.png", {"depths": images})
    with Image.open(tmp_path / "a.png") as image:
        row = [image.getpixel((20 + 2 * level, 100)) for level in range(256)]
    assert [level for level, colour in enumerate(row) if colour == (0, 0, 0)] == [0, 200]


def test_printed_statistics_are_ones_that_training_accepts():
    found = {"std x_0": 0.49949, "std x_T": 0.49949, "covariance": -0.2494899, "lowest": -1.0}
    given = preview.rounded(found)
    assert given == {"std x_0": 0.4995, "std x_T": 0.4995, "covariance": -0.2495, "lowest": -1.0}
    assert preview.rounded(found | {"std x_0": 0.49944})["covariance"] == -0.4994 * 0.4995
