"""Pictures of a sweep: every job under the sources that are its own."""

import torch
from PIL import Image
from result_rows import result, write

from dbim_lightning.evaluation.images import Images
from dbim_lightning.evaluation.report import sheets


def images(source, sample, target, count=3):
    levels = [torch.full((count, 3, 8, 8), level, dtype=torch.uint8) for level in (source, sample)]
    index = torch.arange(count)
    return Images(index, index, *levels, torch.full_like(levels[0], target))


def shown(path):
    """The level of the last image of each row."""
    picture = Image.open(path).convert("L")
    rows = range(picture.height // 98)
    return [picture.getpixel((picture.width - 50, 98 * i + 48)) for i in rows]


def test_a_job_has_source_noises_and_target(tmp_path):
    sheets.save_job_sheets(
        tmp_path, {"seed 0": images(10, 20, 30), "seed 1": images(10, 21, 30)}, {}
    )
    assert shown(tmp_path / "images.png") == [10, 20, 21, 30]


def test_jobs_of_other_images_have_sources_and_targets_of_their_own(tmp_path):
    write(tmp_path, [result(nfe, 0.0) for nfe in (2, 5, 10)])
    previews = [images(10, 20, 30), images(11, 21, 31, count=5), images(10, 22, 30)]
    for i, preview in enumerate(previews):
        sheets.save_job_sheets(tmp_path / "sweep" / str(i), {"seed 0": preview}, {})
    sheets.save_sweep_sheet(tmp_path)
    levels = shown(tmp_path / "images.png")
    assert levels[4:] == [11, 21, 31]
    assert set(levels[:4]) == {255}  # only three images wide
    first = Image.open(tmp_path / "images.png").convert("L")
    column = first.width - 98 * 3
    assert [first.getpixel((column, 98 * i + 48)) for i in range(4)] == [10, 20, 22, 30]
