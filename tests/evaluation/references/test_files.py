"""Reference files: round trips, what published files hold, the cache, files that do not fit."""

import numpy as np
import pytest
import torch
from small_features import ChannelMeans, pictures
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.references.files import (
    cached_reference,
    read_reference,
    write_reference,
)
from dbim_lightning.evaluation.references.statistics import make_reference

IMAGES = pictures(150, 0)
KEY = {"dataset": "noise-0", "split": "train", "size": 8, "network": "means", "num_images": 150}


class Unused(ChannelMeans):
    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("the network ran")


FEATURES = ChannelMeans()(IMAGES)
MU, SIGMA = FEATURES.double().mean(dim=0), FEATURES.double().T.cov()
ARR_0 = IMAGES.permute(0, 2, 3, 1).contiguous().numpy()


def made():
    return make_reference(IMAGES.split(16), 150, ChannelMeans(), "cpu")


def read(path, network=None):
    return read_reference(path, network or Unused(), 8, "cpu")


def assert_close(reference, mean=MU, covariance=SIGMA, features=FEATURES):
    expected = {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(reference.mean, mean, **expected)
    torch.testing.assert_close(reference.covariance, covariance, **expected)
    if features is None:
        assert reference.features is None
    else:
        torch.testing.assert_close(reference.features, features, **expected)


def test_round_trip_is_exact_and_leaves_one_file(tmp_path):
    path = tmp_path / "new" / "reference.npz"
    write_reference(path, made(), KEY)
    for value, expected in zip(read(path), made(), strict=True):
        assert torch.equal(value, expected)
    assert list(path.parent.iterdir()) == [path]
    with np.load(path, allow_pickle=False) as file:
        assert {"mu", "sigma", "act", *KEY} == set(file)
        assert {name: file[name].item() for name in KEY} == KEY


def test_without_features_there_is_no_act(tmp_path):
    write_reference(tmp_path / "a.npz", made()._replace(features=None), KEY)
    assert_close(read(tmp_path / "a.npz"), features=None)


def test_features_are_kept_of_images_spread_over_all(tmp_path):
    for at_most in (10, 150):
        kept = cached_reference(tmp_path, KEY, made, at_most).features
        torch.testing.assert_close(kept, FEATURES[:: 150 // at_most])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_other_projects(tmp_path, save):
    path, act = tmp_path / "a.npz", FEATURES.numpy()
    stored = {"mu": MU.numpy() + 1, "sigma": SIGMA.numpy() * 2}
    save(path, arr_0=ARR_0, act=act, **stored)
    assert_close(read(path), MU + 1, SIGMA * 2)
    save(path, arr_0=ARR_0, **stored)
    assert_close(read(path), MU + 1, SIGMA * 2, None)
    save(path, arr_0=ARR_0, act=act)
    assert_close(read(path))
    save(path, arr_0=ARR_0, mu=stored["mu"])
    assert_close(read(path, ChannelMeans()))
    save(path, ARR_0)
    assert_close(read(path, ChannelMeans()))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"mu": MU.numpy()}, "neither mu and sigma nor act nor arr_0"),
        ({"mu": np.zeros(4), "sigma": np.eye(4)}, r"mu is float64 \(4,\), not \(3,\): choose"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"sigma is float64 \(4, 4\)"),
        ({"act": np.zeros((9, 4))}, r"act is float64 \(9, 4\), not \(9, 3\)"),
        ({"arr_0": ARR_0[:, :4]}, r"not uint8 \(150, 8, 8, 3\): .* images of 8 px"),
        ({"arr_0": ARR_0 / 255}, r"arr_0 is float64"),
        ({"act": np.asfortranarray(FEATURES.numpy())}, "act is stored by columns"),
        ({"act": FEATURES.numpy()[:1]}, "at least 2"),
        ({"act": FEATURES.numpy() * np.nan}, "NaN"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "NaN"),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "sigma is no covariance"),
        ({"act": np.array([[{}] * 3])}, "cannot be read"),
        ({"mu": MU.numpy(), "sigma": np.array([[{}] * 3] * 3)}, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, entries, message):
    path = tmp_path / "a.npz"
    np.savez(path, **entries)
    with pytest.raises(UserError, match=f"a.npz.*{message}"):
        read(path, ChannelMeans())


@pytest.mark.parametrize(("entry", "value"), [("network", "inception_clean"), ("size", 64)])
def test_our_files_say_what_they_are_of(tmp_path, entry, value):
    path = tmp_path / "a.npz"
    write_reference(path, made(), KEY | {entry: value})
    with pytest.raises(UserError, match=f"a.npz: statistics of {entry} {value}, not .*: choose"):
        read(path)


def test_broken_and_missing_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match=r"no reference statistics at .*a\.npz: give the path"):
        read(path)
    write_reference(path, made(), KEY)
    whole = path.read_bytes()
    middle = whole.index(b"act.npy") + 200
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for broken in (b"", b"no npz", whole[:-30], whole[: len(whole) // 2], flipped):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"a\.npz cannot be read .*: delete it or put"):
            read(path)
    with path.open("wb") as file:
        np.save(file, FEATURES.numpy())
    with pytest.raises(UserError, match=r"a\.npz cannot be read"):
        read(path)


def test_the_cache_makes_once_for_each_key(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return made()

    first = cached_reference(tmp_path, KEY, make)
    second = cached_reference(tmp_path, dict(reversed(KEY.items())), make)
    assert len(calls) == 1
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for name, value in KEY.items():
        cached_reference(tmp_path, KEY | {name: value * 2}, make)
    assert len(calls) == 1 + len(KEY) == len(list(tmp_path.iterdir()))


def test_the_cache_keeps_nothing_of_a_failure_and_names_a_broken_file(tmp_path):
    def fail():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        cached_reference(tmp_path, KEY, fail)
    assert not list(tmp_path.iterdir())
    cached_reference(tmp_path, KEY, made)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"{path.name} cannot be read .*: delete it"):
        cached_reference(tmp_path, KEY, made)
