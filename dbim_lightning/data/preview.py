"""A look at a data set: python -m dbim_lightning.data.preview dataset=NAME [dataset.key=value].

Writes a contact sheet, source | target with names, and how often each level occurs; prints the
statistics of the pairs beside those that preconditioning assumes, and what its splits share.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from rich.progress import track
from torch.utils.data import Dataset

from dbim_lightning.config import instantiate, parse_command
from dbim_lightning.data.splits import SPLITS
from dbim_lightning.data.statistics import statistics
from dbim_lightning.data.subset import spread
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.files import printable
from dbim_lightning.pictures import save_contact_sheet, save_histograms, to_uint8

SHOWN, MEASURED, FAR_OFF = 20, 1000, 0.1


def rounded(found: dict[str, float]) -> dict[str, float]:
    """Statistics to four digits, with a covariance that such deviations can have."""
    given = {name: float(f"{value:.4g}") for name, value in found.items()}
    bound = given["std x_0"] * given["std x_T"]
    given["covariance"] = min(max(given["covariance"], -bound), bound)
    return given


def hint(found: dict[str, float], assumed: dict[str, float]) -> str:
    """What to give instead of the assumed statistics, where they are far off; else nothing."""
    names = {"sigma_data": "std x_0", "sigma_data_end": "std x_T", "cov_xy": "covariance"}
    if all(abs(found[names[key]] - value) <= FAR_OFF for key, value in assumed.items()):
        return ""
    given = rounded(found)
    options = " ".join(f"statistics.{key}={given[name]:.8g}" for key, name in names.items())
    return f"far off for the DDBM preconditioning; for a new training give {options}"


def identical_in_two_splits(files: dict[str, list[Path]]) -> int:
    """How many contents stand in more than one split; only files of one size are read.

    Args:
        files: of each split.
    """
    by_size: dict[int, dict[str, set[Path]]] = {}
    for split, paths in files.items():
        for path in paths:
            by_size.setdefault(path.stat().st_size, {}).setdefault(split, set()).add(path)
    unclear = []
    for size, of_split in by_size.items():
        if size > 0 and len(of_split) > 1:
            unclear += [(split, path) for split, paths in of_split.items() for path in paths]
    splits_of: dict[str, set[str]] = {}
    for split, path in track(unclear, "Comparing files", disable=len(unclear) < MEASURED):
        digest = sha256(path.read_bytes()).hexdigest()
        splits_of.setdefault(digest, set()).add(split)
    return sum(len(splits) > 1 for splits in splits_of.values())


def tell_of_splits(dataset: Callable[[str], Dataset], split: str) -> None:
    """Prints how many groups a split has, and how many files it shares with others."""
    found = {}
    for name in SPLITS:
        with suppress(UserError):  # of a split that is empty
            found[name] = dataset(name)
    if groups := getattr(found[split], "groups", None):
        print(f"{len(set(groups)):,} groups of pairs that belong together")
    files = {name: getattr(data, "files", []) for name, data in found.items()}
    if files.get("validation") == files.get("test"):
        files.pop("validation", None)
    if len({tuple(paths) for paths in files.values()}) > 1:  # not one cache for all
        count = identical_in_two_splits(files)
        print(f"{count:,} identical files stand in two splits")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.data.preview",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", default="train", help="train, validation or test")
    parser.add_argument("-o", type=Path, default=Path("preview.png"), metavar="FILE.png")
    options, cfg = parse_command(parser)
    if options.o.suffix.lower() != ".png":
        raise UserError(f"-o {options.o}: name a .png file")
    dataset = instantiate(cfg.dataset)
    data = dataset(options.split)
    shown = spread(data, min(len(data), SHOWN))
    pairs = [shown[i] for i in range(len(shown))]
    images = {
        printable(pair["name"]): torch.cat([pair["x_T"], pair["x_0"]], dim=2) for pair in pairs
    }
    save_contact_sheet(options.o, {name: to_uint8(both) for name, both in images.items()})
    measured = spread(data, min(len(data), MEASURED))
    found = statistics(measured)
    _, height, width = data[0]["x_0"].shape
    print(f"{options.split}: {len(data):,} pairs of {width}x{height}, of which {len(measured):,}:")
    print(", ".join(f"{name} {value:.8g}" for name, value in rounded(found).items()))
    print("assumed: " + ", ".join(f"{key} {value}" for key, value in cfg.statistics.items()))
    print(hint(found, dict(cfg.statistics)) or "which is near enough")
    tell_of_splits(dataset, options.split)
    levels = options.o.with_stem(f"{options.o.stem}_levels")
    sides = {"sources": "x_T", "targets": "x_0"}
    save_histograms(
        levels,
        {name: torch.stack([to_uint8(pair[key]) for pair in pairs]) for name, key in sides.items()},
    )
    print(f"Contact sheet: {options.o}, levels: {levels}")


if __name__ == "__main__":
    with one_line_errors():
        main()
