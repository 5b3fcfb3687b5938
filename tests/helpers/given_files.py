"""Seventy pairs, and samples for them as another program leaves them."""

import torch
from picture_files import picture, save

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


def samples(stream):
    return torch.cat([images.samples for images in stream]).permute(0, 2, 3, 1).numpy()
