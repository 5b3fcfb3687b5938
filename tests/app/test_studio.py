"""What a bridge draws for the page, without the page."""

import numpy as np
import pytest
import torch
from bridge_files import write_bridge
from PIL import Image

from dbim_lightning.app import drawings
from dbim_lightning.app.studio import BETWEEN, NOISES, Settings, open_studio
from dbim_lightning.errors import UserError
from dbim_lightning.pictures import to_uint8
from dbim_lightning.samplers import DBIM, ImageNoise

FAST = Settings("dbim_fast", 5, 6.0, 0)


def pictures(strip):
    """The pictures (N, 16, 16, 3) of a strip of one row."""
    values = np.asarray(strip).astype(int)
    return np.stack([values[1:17, i : i + 16] for i in range(1, values.shape[1] - 1, 17)])


def test_it_draws_what_the_sampler_samples(studio):
    picture, took, way = studio.draw("", Settings("dbim", 4, 1.0, 7))
    x_T = torch.ones(1, 3, 16, 16)
    schedule = studio.denoiser.schedule
    x_0 = DBIM(4, eta=1.0).sample(studio.denoiser, schedule, x_T, ImageNoise(7, [0]))
    assert (np.asarray(picture) == to_uint8(x_0)[0].permute(1, 2, 0).numpy()).all()
    assert took.startswith("4 network calls, ")
    assert np.asarray(way).shape == (2 * 17 + 1, 4 * 17 + 1, 3)


def test_a_long_way_is_shown_by_eight_of_its_states(studio):
    picture, _, way = studio.draw("", FAST._replace(nfe=30))
    values = np.asarray(way)
    assert values.shape == (2 * 17 + 1, 8 * 17 + 1, 3)
    assert (values[1:17, -17:-1] == np.asarray(picture)).all()


def test_drawing_seed_and_eta_change_the_picture(studio):
    black = drawings.url(Image.new("RGB", (512, 512)))
    settings = [FAST, FAST._replace(seed=1), FAST._replace(eta=0.0), FAST._replace(sampler="dbim")]
    seen = [np.asarray(studio.draw("", each)[0]).tobytes() for each in settings]
    seen.append(np.asarray(studio.draw(black, FAST)[0]).tobytes())
    assert len(set(seen)) == 5
    assert np.asarray(studio.draw("", FAST)[0]).tobytes() == seen[0]


def test_noises_differ_and_the_first_is_that_of_the_picture(studio):
    four = pictures(studio.noises("", FAST))
    assert len(four) == NOISES
    assert np.abs(four[0] - np.asarray(studio.draw("", FAST)[0])).max() <= 1
    assert np.abs(four[0] - four[1]).max() > 10


@pytest.mark.parametrize("eta", [0.0, 6.0])
def test_the_way_between_two_noises_ends_at_their_pictures(studio, eta):
    settings = FAST._replace(eta=eta)
    four = pictures(studio.noises("", settings))
    way = pictures(studio.between("", settings, 1, 3))
    assert len(way) == BETWEEN
    assert np.abs(way[0] - four[1]).max() <= 1
    assert np.abs(way[-1] - four[3]).max() <= 1
    steps = np.abs(np.diff(way, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < np.abs(way[0] - way[-1]).mean()


def test_a_comparison_takes_each_sampler_at_its_own_eta(studio):
    picture, took = studio.compare("", FAST._replace(eta=1.0), "dbim_fast")
    assert (np.asarray(picture) == np.asarray(studio.draw("", FAST)[0])).all()
    assert took.startswith("5 network calls, ")
    assert studio.compare("", FAST, "dbm_solver")[1].startswith("4 network calls, ")


def test_samplers_are_those_of_the_configuration(studio):
    assert {"dbim", "dbim_fast", "dbm_solver", "ddbm", "ecsi"} <= studio.samplers.keys()
    assert "recommended" not in studio.samplers
    assert studio.eta("dbim_fast") == 6.0
    assert studio.eta("dbm_solver") is None


def test_a_file_that_carries_a_sampler_offers_it(tmp_path):
    tuned = {"_target_": "dbim_lightning.samplers.DBIM", "eta": 2.0}
    path = write_bridge(tmp_path / "tuned.safetensors", samplers={"5": tuned})
    tuned_studio = open_studio(str(path), None)
    tuned_picture = tuned_studio.draw("", FAST._replace(sampler="recommended", eta=0.0))[0]
    same = tuned_studio.draw("", Settings("dbim", 5, 2.0, 0))[0]
    assert (np.asarray(tuned_picture) == np.asarray(same)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FAST._replace(nfe=1), "nfe=1"),
        (FAST._replace(eta=-1.0), "eta=-1"),
        (FAST._replace(sampler="ecsi", nfe=2), "nfe=2"),
        (Settings("dbim_high_order", 5, 1.0, 0), "order=3"),
    ],
)
def test_settings_that_a_sampler_does_not_take_are_refused(studio, settings, message):
    with pytest.raises(UserError, match=message):
        studio.draw("", settings)


def test_a_broken_bridge_is_named_as_such(tmp_path):
    path = write_bridge(tmp_path / "broken.safetensors", scale=float("nan"))
    with pytest.raises(UserError, match="the denoiser returned NaN"):
        open_studio(str(path), None).draw("", FAST)


def test_the_size_may_be_said_where_the_file_does_not(tmp_path):
    path = str(write_bridge(tmp_path / "bare.safetensors", dataset=None))
    with pytest.raises(UserError, match=r"does not say the size .* give image_size=64"):
        open_studio(path, None)
    assert open_studio(path, 24).draw("", FAST)[0].size == (24, 24)
    with pytest.raises(UserError, match="17"):
        open_studio(path, 17)


def test_bridges_that_need_more_than_a_picture_are_refused(tmp_path):
    hole = {"corruption": "inpaint_center", "image_size": 16}
    path = write_bridge(tmp_path / "hole.safetensors", dataset=hole)
    with pytest.raises(UserError, match="fills holes, and the page has no masks"):
        open_studio(str(path), None)
    path = write_bridge(tmp_path / "labels.safetensors", "+network.num_classes=3")
    with pytest.raises(UserError, match="needs labels, and the page has none"):
        open_studio(str(path), None)
    grey = ["+network.in_channels=1", "+network.out_channels=1"]
    path = write_bridge(tmp_path / "grey.safetensors", *grey)
    with pytest.raises(UserError, match="in_channels=1, but the images have 3"):
        open_studio(str(path), None)
