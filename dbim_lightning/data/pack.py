"""Packs any data set: python -m dbim_lightning.data.pack dataset=NAME [dataset.key=value] -o DIR.

Training then reads it with dataset=packed dataset.root=DIR, and decodes no image any more.
"""

import argparse
import inspect
import os
from functools import partial
from pathlib import Path

from dbim_lightning.commands import program, word
from dbim_lightning.config import instantiate, parse_command, resolved
from dbim_lightning.data.packed import pack
from dbim_lightning.data.subset import settled
from dbim_lightning.errors import UserError, one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.data.pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", type=Path, required=True, metavar="DIR", help="one folder per split")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="that decode images")
    parser.add_argument("--skip-broken", action="store_true", help="leave broken images out")
    options, cfg = parse_command(parser)
    if options.workers < 0:
        raise UserError(f"--workers {options.workers}: use 0 or more")
    dataset, made_with = instantiate(cfg.dataset), resolved(cfg)["dataset"]
    if options.skip_broken and "check" in inspect.signature(dataset).parameters:
        dataset = partial(dataset, check=False)
    for split in ("train", "validation", "test"):
        pairs, folder = dataset(split), options.o / split
        known = made_with | settled(pairs)
        contents = pack(pairs, folder, options.workers, options.skip_broken, known)
        left_out = contents["left_out"]
        print(f"{split}: {len(contents['names']):,} pairs, {len(left_out)} left out", *left_out)
    print(f"Train: {program('train')} dataset=packed {word('dataset.root', options.o)}")


if __name__ == "__main__":
    with one_line_errors():
        main()
