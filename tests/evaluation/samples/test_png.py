"""Our own samples as PNG files and back."""

import numpy as np
import pytest
import torch
from given_files import COUNT, SAMPLES, pairs, samples
from picture_files import save

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import images_of
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.evaluation.samples.png import save_png


def images(data):
    block = torch.utils.data.default_collate(data)
    return images_of(range(COUNT), block, torch.from_numpy(SAMPLES).permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["{:03}.x", "class {}/of/{}", "{}\udcff"])
def test_png_files_come_back_and_are_written_once(tmp_path, name):
    data = [pair | {"name": name.format(i, i)} for i, pair in enumerate(pairs())]
    save_png(images(data), data, tmp_path)
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert paths == sorted(tmp_path / f"{pair['name']}.png" for pair in data)
    assert np.array_equal(samples(GivenSamples(tmp_path, data)), SAMPLES)

    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[0].write_bytes(paths[0].read_bytes()[:70])
    save(paths[1], SAMPLES[0] ^ 1)
    paths[2].unlink()
    save_png(images(data), data, tmp_path)
    changed = [path for path in paths if path.stat().st_mtime_ns != before[path]]
    assert changed == paths[:3]
    assert np.array_equal(samples(GivenSamples(tmp_path, data)), SAMPLES)


@pytest.mark.parametrize("name", ["../{}", "/{}", "a/../../{}"])
def test_names_stay_in_their_folder(tmp_path, name):
    data = pairs(name)
    with pytest.raises(UserError, match=r"names a file outside .*rename the pair"):
        save_png(images(data), data, tmp_path / "samples")
    assert not list(tmp_path.iterdir())
