import sys

import pytest
import torch
from picture_files import as_strips, some_pairs
from PIL import Image
from torch.utils.data import Dataset

from dbim_lightning.data import Pair, preview
from dbim_lightning.data.statistics import statistics
from dbim_lightning.errors import UserError


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
