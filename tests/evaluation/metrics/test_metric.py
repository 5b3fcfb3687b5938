"""What a metric of one's own has to be, and what is said if it is not."""

import pytest
import torch
from published_files import assert_splits_agree, random_images

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Protocol
from dbim_lightning.evaluation.metrics import Column, Means, PairedMetrics


class Brightness(Means):
    columns = {"bright": Column("brightness", 1, "↑"), "dark": Column("darkness", 1, "↓")}

    def values(self, images):
        means = images.samples.float().mean(dim=(1, 2, 3))
        return {"bright": means, "dark": 255 - means}


def test_means_are_over_images_whatever_the_blocks():
    images = random_images(20, 8)
    expected = images.samples.double().mean().item()
    values = assert_splits_agree(Brightness(), images)
    assert values == pytest.approx({"bright": expected, "dark": 255 - expected})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda values: {key: value.mean() for key, value in values.items()},
        lambda values: {key: value[:, None].expand(-1, 3) for key, value in values.items()},
        lambda values: {"bright": values["bright"]},
        lambda values: values | {"more": values["bright"]},
    ],
    ids=["a mean", "one for each channel", "one too few", "one too many"],
)
def test_values_that_are_no_number_for_each_image_are_refused(monkeypatch, wrong):
    right = Brightness.values
    monkeypatch.setattr(Brightness, "values", lambda self, images: wrong(right(self, images)))
    metric = Brightness()
    metric.reset(4)
    with pytest.raises(UserError, match=r"Brightness\.values gave .*: give bright, dark, each as"):
        metric.update(random_images(4, 8))


def test_what_is_better_is_an_arrow():
    with pytest.raises(UserError, match="better=up of the column brightness: give ↓ or ↑"):
        Column("brightness", 1, "up")


def test_a_protocol_takes_null_for_no_metric_and_refuses_what_is_none():
    measured = {"bright": Brightness(), "off": None, "paired": PairedMetrics()}
    assert list(Protocol("toy", measured=measured).columns) == [
        *("bright", "dark", "mse", "psnr", "ssim"),
    ]
    assert Protocol("toy", measured=None).metrics == []
    with pytest.raises(UserError, match=r"metrics\.measured\.mine is a Linear without columns"):
        Protocol("toy", measured={"mine": torch.nn.Linear(1, 1)})
