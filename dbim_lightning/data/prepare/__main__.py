"""Brings a data set of the papers into the form that training reads.

Interrupted, it goes on where it stopped when it is run again; what is whole is left alone.
"""

import argparse
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

from dbim_lightning.commands import program, word
from dbim_lightning.data.prepare import diode, edges2handbags, imagenet
from dbim_lightning.data.prepare.download import fits
from dbim_lightning.data.prepare.recipe import make
from dbim_lightning.errors import UserError, one_line_errors

RECIPES = {"edges2handbags": edges2handbags.RECIPE, "diode": diode.RECIPE}


def parser() -> ArgumentParser:
    common = ArgumentParser(add_help=False)
    common.add_argument(
        "--root", type=Path, default=Path("data"), help="everything goes to ROOT/NAME"
    )
    common.add_argument(
        "--archive",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="FILE",
        help="archives that are there already, under their names",
    )
    top = ArgumentParser(
        prog="python -m dbim_lightning.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = top.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, recipe in RECIPES.items():
        archives = ", ".join([*(a.name for a in recipe.archives), *recipe.lists])
        packed = names.add_parser(
            name, parents=[common], help=archives, epilog=f"Files: {archives}"
        )
        packed.add_argument(
            "--url",
            action="append",
            default=[],
            help="a mirror: the address of one archive, or of a folder (ending in /) that has them "
            "all under their names; may be repeated",
        )
        packed.add_argument(
            "--image-size", type=int, default=recipe.image_size, help="default: %(default)s"
        )
        packed.add_argument("--skip-broken", action="store_true", help="leave broken images out")
        packed.add_argument("--workers", type=int, default=os.cpu_count(), help="that read images")
    names.add_parser("imagenet", parents=[common], help="needs a login", epilog=imagenet.WHERE)
    return top


def given_files(paths: Iterable[Path]) -> dict[str, Path]:
    """File name -> file."""
    paths = list(paths)
    for path in paths:
        if not path.is_file():
            raise UserError(f"--archive {path}: no such file")
    given = {path.name: path for path in paths}
    if len(given) < len(paths):
        raise UserError("--archive: two files have one name: rename one of them")
    return given


def prepare_packed(options: Namespace) -> None:
    """Makes and reports a data set of `RECIPES`."""
    recipe, given = RECIPES[options.name], given_files(options.archive)
    known = [*(archive.name for archive in recipe.archives), *recipe.lists]
    if unknown := given.keys() - known:
        raise UserError(f"--archive {', '.join(unknown)}: the names are {', '.join(known)}")
    for url in options.url:
        if not url.startswith("http") or not any(fits(url, a) for a in recipe.archives):
            raise UserError(f"--url {url}: it is http…/ or http…/NAME, of {', '.join(known)}")
    if options.image_size < 1 or options.workers < 0:
        raise UserError("--image-size has to be 1 or more, and --workers 0 or more")
    splits = make(
        recipe,
        options.root / options.name,
        options.image_size,
        options.url,
        given,
        options.workers,
        options.skip_broken,
    )
    folder = options.root / options.name / f"{options.image_size}px"
    left_out = [why for pairs in splits.values() for why in pairs.contents["left_out"]]
    counts = {split: len(pairs) for split, pairs in splits.items()}
    report(folder, counts, recipe.published, left_out)
    for spare in (folder.with_name("archives"), folder.with_name("unpacked")):
        if spare.is_dir():
            print(f"Not needed any more: {spare}")
    usual = Path("data", options.name, f"{recipe.image_size}px")
    print(f"Train: {program('train')} {recipe.train}{root_choice(folder, usual)}")


def prepare_imagenet(options: Namespace) -> None:
    """Makes and reports ImageNet."""
    folder = options.root / options.name
    counts = imagenet.make(folder, given_files(options.archive))
    report(folder, counts, imagenet.PUBLISHED)
    choices = "dataset=imagenet_inpaint_center network=adm_imagenet schedule=i2sb"
    root = root_choice(folder, Path("data/imagenet"))
    print(f"Train: {program('train')} {choices} training=published{root}")


def report(
    folder: Path, counts: Mapping[str, int], published: Mapping[str, int], left_out: Iterable = ()
) -> None:
    """Prints what is there, beside what the papers had."""
    print(f"All is there, in {folder}")
    for split, count in counts.items():
        beside = f" (published: {published[split]:,})" if split in published else ""
        print(f"  {split}: {count:,} images{beside}")
    for why in left_out:
        print(f"  left out: {why}")
    for split, expected in published.items():
        if counts[split] != expected:
            print(
                f"warning: {split} has {counts[split]:,} images, and not the published {expected:,}"
            )


def root_choice(folder: Path, usual: Path) -> str:
    """The key that tells a training where the data are, unless it looks there anyhow."""
    return "" if folder == usual else f" {word('dataset.root', folder)}"


def main() -> None:
    options = parser().parse_args()
    try:
        (prepare_imagenet if options.name == "imagenet" else prepare_packed)(options)
    except KeyboardInterrupt:
        raise SystemExit("interrupted: the same command goes on from here") from None


if __name__ == "__main__":
    with one_line_errors():
        main()
