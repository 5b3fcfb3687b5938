"""A look at a data set: python -m dbim_lightning.data.preview dataset=NAME [dataset.key=value].

Writes a contact sheet, source | target with names, and prints the statistics of the pairs beside
those that preconditioning assumes.
"""

import argparse
from pathlib import Path

import torch

from dbim_lightning.config import instantiate, parse_command
from dbim_lightning.data.statistics import statistics
from dbim_lightning.data.subset import spread
from dbim_lightning.errors import one_line_errors
from dbim_lightning.pictures import save_contact_sheet, to_uint8

SHOWN, MEASURED, FAR_OFF = 20, 1000, 0.1


def hint(found: dict[str, float], assumed: dict[str, float]) -> str:
    """What to give instead of the assumed statistics, where they are far off; else nothing."""
    names = {"sigma_data": "std x_0", "sigma_data_end": "std x_T", "cov_xy": "covariance"}
    if all(abs(found[names[key]] - value) <= FAR_OFF for key, value in assumed.items()):
        return ""
    options = " ".join(f"statistics.{key}={found[names[key]]:.2f}" for key in assumed)
    return f"far off for the DDBM preconditioning; for a new training give {options}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.data.preview",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", default="train", help="train, validation or test")
    parser.add_argument("-o", type=Path, default=Path("preview.png"), metavar="FILE.png")
    options, cfg = parse_command(parser)
    data = instantiate(cfg.dataset)(options.split)
    shown = spread(data, min(len(data), SHOWN))
    pairs = [shown[i] for i in range(len(shown))]
    images = {pair["name"]: torch.cat([pair["x_T"], pair["x_0"]], dim=2) for pair in pairs}
    save_contact_sheet(options.o, {name: to_uint8(both) for name, both in images.items()})
    measured = spread(data, min(len(data), MEASURED))
    found = statistics(measured)
    _, height, width = data[0]["x_0"].shape
    print(f"{options.split}: {len(data):,} pairs of {width}x{height}, of which {len(measured):,}:")
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    print("assumed: " + ", ".join(f"{key} {value}" for key, value in cfg.statistics.items()))
    print(hint(found, dict(cfg.statistics)) or "which is near enough")
    print(f"Contact sheet: {options.o}")


if __name__ == "__main__":
    with one_line_errors():
        main()
