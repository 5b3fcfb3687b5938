"""Pictures for people to look at."""

import numpy as np
import torch
from PIL import Image

from dbim_lightning.pictures import save_contact_sheet, save_sheet, to_uint8


def test_uint8_rounds_and_clamps():
    x = torch.tensor([-1.5, -1.0, 0.0, 1 / 255, 1.0, 2.0])
    assert to_uint8(x).tolist() == [0, 0, 128, 128, 255, 255]
    assert to_uint8(x, "down").tolist() == [0, 0, 127, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)


def test_sheet_shows_rows_in_order(tmp_path):
    rows = [
        (name, torch.full((2, 3, 8, 8), level, dtype=torch.uint8))
        for name, level in (("source", 0), ("target", 200))
    ]
    save_sheet(tmp_path / "folder" / "sheet.png", rows)
    picture = Image.open(tmp_path / "folder" / "sheet.png").convert("L")
    column = picture.width * 3 // 4
    assert picture.getpixel((column, picture.height // 4)) == 0
    assert picture.getpixel((column, picture.height * 3 // 4)) == 200


def test_rows_of_another_size_take_that_of_the_first(tmp_path):
    small, large = (torch.full((2, 3, n, n), 100, dtype=torch.uint8) for n in (8, 300))
    for rows in ([("a", small), ("b", small)], [("a", small), ("b", large)]):
        save_sheet(tmp_path / "sheet.png", rows)
        picture = Image.open(tmp_path / "sheet.png").convert("L")
        assert picture.height < 250
        assert picture.getpixel((picture.width - 50, picture.height - 50)) == 100


def test_images_are_enlarged_by_whole_numbers_and_long_labels_fit(tmp_path):
    image = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    save_sheet(tmp_path / "sheet.png", [("eta 0.5\norder 3\nNFE 20", image)])
    picture = Image.open(tmp_path / "sheet.png").convert("RGB")
    right = picture.crop((picture.width - 98, 0, picture.width - 2, 96))
    shown = torch.from_numpy(np.array(right)).permute(2, 0, 1)
    assert torch.equal(shown[:, 1::3, 1::3], image[0])
    assert picture.crop((0, 0, 8, 96)).getextrema() == ((255, 255),) * 3


def test_contact_sheet_has_a_cell_for_each_name(tmp_path):
    images = {
        f"{'deep/' * 20}{i}": torch.full((3, 96, 192), 40 * i, dtype=torch.uint8) for i in range(5)
    }
    save_contact_sheet(tmp_path / "sheet.png", images)
    levels = {level for _, level in Image.open(tmp_path / "sheet.png").convert("L").getcolors(256)}
    assert levels >= {0, 40, 80, 120, 160, 255}
