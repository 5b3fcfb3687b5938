"""Samples of another program, by name, by index and as an array; our own as PNG and back."""

import numpy as np
import pytest
import torch
from dbim_lightning.evaluation.generate import images_of
from dbim_lightning.evaluation.given import GivenSamples, save_png
from picture_files import picture, save
from torch.utils.data import Subset

from dbim_lightning.errors import UserError
from dbim_lightning.pictures import to_uint8

COUNT = 70
IMAGES = torch.rand(COUNT, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
SAMPLES = picture(COUNT, 4, 6, 3)


def pairs(name="{:03}.x"):
    return [
        {"x_0": x[0], "x_T": x[1], "index": i, "name": name.format(i)} for i, x in enumerate(IMAGES)
    ]


def write(folder, name):
    for i, pixels in enumerate(SAMPLES):
        save(folder / f"{name.format(i)}.png", pixels)
    return folder


def samples(given):
    return torch.cat([images.samples for images in given]).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("{:03}.x", "{:03}.x"),
        ("class/{:03}", "class/{:03}"),
        ("class/{:03}", "{:03}"),
        ("{:03}", "{:03}"),
        ("emoji-{}", "{}"),
        ("emoji-{}", "{:06}"),
    ],
)
def test_folder_by_name_or_by_index(tmp_path, name, file):
    given = GivenSamples(write(tmp_path, file), pairs(name))
    assert np.array_equal(samples(given), SAMPLES)
    assert len(given) == 2


def test_last_parts_of_names_where_some_names_have_no_more(tmp_path):
    data = [pair | {"name": f"{'deep/' * (i % 2)}{i}"} for i, pair in enumerate(pairs())]
    assert np.array_equal(samples(GivenSamples(write(tmp_path, "{}"), data)), SAMPLES)


def test_last_parts_that_are_not_unique_are_no_names(tmp_path):
    data = [pair | {"name": f"{i}/image"} for i, pair in enumerate(pairs())]
    save(tmp_path / "image.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"lacks the samples of 70 of 70 pairs \(0/image, "):
        GivenSamples(tmp_path, data)


def test_index_is_that_in_the_data_set(tmp_path):
    chosen = [40, 3, 65]
    for i in chosen:
        save(tmp_path / f"{i}.png", SAMPLES[i])
    (images,) = GivenSamples(tmp_path, Subset(pairs(), chosen))
    assert images.index.tolist() == chosen
    assert images.position.tolist() == [0, 1, 2]
    assert torch.equal(images.targets, to_uint8(IMAGES[chosen, 0]))
    assert torch.equal(images.sources, to_uint8(IMAGES[chosen, 1]))
    assert np.array_equal(images.samples.permute(0, 2, 3, 1).numpy(), SAMPLES[chosen])


def test_array_by_position_over_ranks(tmp_path):
    np.savez_compressed(tmp_path / "samples.npz", SAMPLES)
    ranks = [GivenSamples(tmp_path / "samples.npz", pairs(), rank, 2) for rank in range(2)]
    assert np.array_equal(samples(ranks[0]), SAMPLES[:64])
    assert np.array_equal(samples(ranks[1]), SAMPLES[64:])


def test_missing_and_surplus_images_are_named(tmp_path):
    write(tmp_path, "{:03}.x")
    save(tmp_path / "more" / "else.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"has 1 images that belong to no pair \(more/else\.png\)"):
        GivenSamples(tmp_path, pairs())
    for i in range(12):
        (tmp_path / f"{i:03}.x.png").unlink()
    first_ten = r"\(000\.x, 001\.x, .*, 009\.x, \.\.\.\)"
    with pytest.raises(UserError, match=rf"lacks the samples of 12 of 70 pairs {first_ten}"):
        GivenSamples(tmp_path, pairs())


def test_numbers_are_no_index_where_some_are_names(tmp_path):
    write(tmp_path, "{}")
    data = [pair | {"name": str(pair["index"] + 1)} for pair in pairs()]
    with pytest.raises(UserError, match=r"lacks the samples of 1 of 70 pairs \(70\)"):
        GivenSamples(tmp_path, data)


def test_two_files_of_one_name(tmp_path):
    write(tmp_path, "{}")
    save(tmp_path / "07.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"07\.png and .*7\.png have one name: remove one"):
        GivenSamples(tmp_path, pairs())


def test_bad_images_are_named(tmp_path):
    write(tmp_path, "{:03}.x")
    save(tmp_path / "002.x.png", picture(4, 4, 3))
    with pytest.raises(UserError, match=r"002\.x\.png is 4x4, but its pair is 6x4: write"):
        list(GivenSamples(tmp_path, pairs()))
    (tmp_path / "001.x.png").write_bytes((tmp_path / "000.x.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"001\.x\.png is not a readable image"):
        list(GivenSamples(tmp_path, pairs()))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"samples": SAMPLES}, r"samples\.npz has no arr_0: save with np\.savez"),
        ({"arr_0": SAMPLES / 255}, "is float64: save levels 0 to 255 as uint8"),
        ({"arr_0": SAMPLES[1:]}, r"is \(69, 4, 6, 3\), but the data are \(70, 4, 6, 3\)"),
        ({"arr_0": SAMPLES[:, :2]}, r"is \(70, 2, 6, 3\), but"),
        ({"arr_0": SAMPLES.astype(object)}, "is not a readable"),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(UserError, match=message):
        GivenSamples(tmp_path / "samples.npz", pairs())


def test_files_that_are_no_arrays(tmp_path):
    path = tmp_path / "samples.npz"
    with pytest.raises(UserError, match=r"no samples at .*name a folder of images or an \.npz"):
        GivenSamples(path, pairs())
    np.savez_compressed(path, SAMPLES)
    whole = path.read_bytes()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    with (tmp_path / "array").open("wb") as file:
        np.save(file, SAMPLES)
    for content in (b"", b"text", whole[:3000], flipped, (tmp_path / "array").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"samples\.npz is not a readable \.npz \(.*write it"):
            GivenSamples(path, pairs())


def stream(data):
    block = torch.utils.data.default_collate(data)
    yield images_of(range(COUNT), block, torch.from_numpy(SAMPLES).permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["{:03}.x", "class {}/of/{}"])
def test_png_files_come_back_and_are_written_once(tmp_path, name):
    data = [pair | {"name": name.format(i, i)} for i, pair in enumerate(pairs())]
    assert save_png(stream(data), data, tmp_path) == COUNT
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert paths == sorted(tmp_path / f"{pair['name']}.png" for pair in data)
    assert np.array_equal(samples(GivenSamples(tmp_path, data)), SAMPLES)

    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[0].write_bytes(paths[0].read_bytes()[:70])
    save(paths[1], SAMPLES[0] ^ 1)
    paths[2].unlink()
    assert save_png(stream(data), data, tmp_path) == COUNT
    changed = [path for path in paths if path.stat().st_mtime_ns != before[path]]
    assert changed == paths[:3]
    assert np.array_equal(samples(GivenSamples(tmp_path, data)), SAMPLES)


@pytest.mark.parametrize("name", ["../{}", "/{}", "a/../../{}"])
def test_names_stay_in_their_folder(tmp_path, name):
    data = pairs(name)
    with pytest.raises(UserError, match=r"names a file outside .*rename the pair"):
        save_png(stream(data), data, tmp_path / "samples")
    assert not list(tmp_path.iterdir())
