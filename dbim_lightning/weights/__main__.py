"""Weights files: python -m dbim_lightning.weights import|export|push; --help."""

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.progress import track

from dbim_lightning import commands
from dbim_lightning.composing import compose
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.resolvers import CONF
from dbim_lightning.sampler_files import read_tuned, require_tuned_for
from dbim_lightning.weights.build import build_denoiser, recommended_sampler, restored
from dbim_lightning.weights.files import (
    CONFIG_KEY,
    SavedDenoiser,
    differing,
    read_denoiser,
    read_tensors,
    shapes,
    write_denoiser,
)
from dbim_lightning.weights.formats import convert, recognise, unwrapped
from dbim_lightning.weights.hub import FILE, push
from dbim_lightning.weights.sources import local_file

PUBLISHED_STATISTICS = {"sigma_data": 0.5, "sigma_data_end": 0.5, "cov_xy": 0.0}
PUBLISHED_SCHEDULES = {"adm_e2h": "vp", "adm_diode": "vp", "adm_imagenet": "i2sb"}


def published_config(network: str, schedule: str) -> dict[str, Any]:
    """The denoiser that two choices describe, with the data statistics that the papers assume."""
    if PUBLISHED_SCHEDULES.get(network, schedule) != schedule:
        raise UserError(
            f"--schedule {schedule}: the published weights of {network} were trained with "
            f"--schedule {PUBLISHED_SCHEDULES[network]}"
        )
    cfg = compose("train", [f"network={network}", f"schedule={schedule}"])
    cfg.statistics = PUBLISHED_STATISTICS
    return {"denoiser": OmegaConf.to_container(cfg.denoiser, resolve=True)}


def expected_shapes(config: dict[str, Any]) -> dict[str, tuple]:
    """Of the denoiser's state dict, in its order."""
    with torch.device("meta"):
        return shapes(build_denoiser(config).state_dict())


def likely_preset(found: dict[str, tuple], config: dict[str, Any]) -> str:
    """Whose shapes these are, in words, or an empty text."""
    for path in sorted((CONF / "network").glob("*.yaml")):
        network = OmegaConf.to_container(OmegaConf.load(path))
        if expected_shapes({"denoiser": config["denoiser"] | {"network": network}}) == found:
            return f"; they are those of --network {path.stem}"
    return ""


def import_weights(
    source: Path, config: dict[str, Any], trusted: Collection[str] = ()
) -> SavedDenoiser:
    """Reads published weights, or a file of this project, and checks that they fit the denoiser."""
    content = read_tensors(source)
    if CONFIG_KEY in content:
        saved = read_denoiser(source, trusted=trusted)
        theirs, ours = (each["denoiser"]["schedule"] for each in (saved.config, config))
        if theirs != ours:
            raise UserError(
                f"{source} was trained with the schedule {theirs}, not with {ours}: give the "
                "--schedule that it was trained with"
            )
    else:
        try:
            place, tensors = unwrapped(content)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        what = f"its {place}" if place else "a state dict"
        print(f"{source}: {what} in the form of {recognise(tensors)}")
        weights = {f"network.{key}": value for key, value in convert(tensors).items()}
        saved = SavedDenoiser(source, config, weights, 0)
    found, expected = shapes(saved.weights), expected_shapes(config)
    if different := differing(expected, found):
        others = [key.removeprefix("network.") for key in found if key not in expected]
        instead = f"; it has {', '.join(others[:3])}" if others else ""
        preset = likely_preset(found, config)
        raise UserError(f"{source} is of another network: {different}{instead}{preset}")
    check_weights(saved)
    return saved


def check_weights(saved: SavedDenoiser) -> None:
    """Reads every weight once."""
    for key, value in track(saved.weights.items(), "Checking", len(saved.weights)):
        if not value.is_floating_point():
            raise UserError(f"{saved.path}: {key} has whole numbers ({value.dtype}): no weights")
        if not value.sum(dtype=torch.float64).isfinite():
            raise UserError(f"{saved.path}: {key} is not finite: copy or download the file again")


def with_samplers(saved: SavedDenoiser, paths: list[Path]) -> SavedDenoiser:
    """The same with tuned samplers in it, beside those of other NFE that it has, each one made."""
    samplers = dict(saved.config.get("samplers", {}))
    for path in paths:
        node = read_tuned(path)
        require_tuned_for(node, saved.config["denoiser"]["schedule"])
        nfe = node.pop("tuned")["nfe"]
        config = {"samplers": {str(nfe): node}}
        print(f"NFE {nfe}: {recommended_sampler(path, config, nfe)}")
        samplers |= config["samplers"]
    return saved._replace(config=saved.config | {"samplers": samplers})


def halved(saved: SavedDenoiser) -> SavedDenoiser:
    """The same in float16, half the size; what reads it computes as before."""
    weights = {key: value.half() for key, value in saved.weights.items()}
    for key, value in weights.items():
        if not value.isfinite().all():
            raise UserError(f"{saved.path}: {key} is too large for float16: leave --half out")
    return saved._replace(weights=weights)


def with_rights(saved: SavedDenoiser, options: argparse.Namespace) -> SavedDenoiser:
    """The same with the licence and attribution that were given, or else its own."""
    given = {"license": options.license, "attribution": options.attribution}
    told = {key: value for key, value in given.items() if value}
    return saved._replace(config=saved.config | told)


def push_weights(options: argparse.Namespace) -> None:
    """To the hub, with configuration, model card and pictures, once all have been looked at."""
    from dbim_lightning.evaluation.card import model_card  # noqa: PLC0415 - it takes seconds

    saved = read_denoiser(local_file(options.source), trusted=options.trusted)
    if saved.path.suffix != ".safetensors":
        raise UserError(
            f"{saved.path} is a checkpoint, with more than weights: python -m "
            f"dbim_lightning.weights export {commands.path(saved.path)} -o FILE.safetensors"
        )
    check_weights(saved)
    restored(saved)
    card, pictures = model_card(options.repo, saved, options.results)
    config = OmegaConf.to_yaml(OmegaConf.create(saved.config))
    files: dict[str, Path | str] = {FILE: saved.path, "config.yaml": config}
    files |= {"README.md": card, **{picture.name: picture for picture in pictures}}
    print(f"{push(options.repo, files, options.private)}: {', '.join(files)}")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m dbim_lightning.weights", description=__doc__)
    names = top.add_subparsers(dest="command", required=True)
    imported = names.add_parser("import", help="published weights -> one self-describing file")
    imported.add_argument("--network", required=True, help="of conf/network, such as adm_e2h")
    imported.add_argument("--schedule", required=True, help="of conf/schedule, such as vp")
    exported = names.add_parser("export", help="a checkpoint of a training -> the same")
    exported.add_argument("--raw", action="store_true", help="the raw weights, not their EMA")
    for command in (imported, exported):
        command.add_argument("source", metavar="SOURCE")
        command.add_argument(
            "--sampler",
            type=Path,
            action="append",
            metavar="FILE.yaml",
            help="a tuned one that the file shall carry; several for several NFE",
        )
        command.add_argument("--half", action="store_true", help="in float16, half the size")
        command.add_argument("--license", metavar="ID", help="of the weights, as cc-by-sa-4.0")
        command.add_argument("--attribution", metavar="TEXT", help="that this licence asks for")
        command.add_argument("-o", type=Path, required=True, metavar="FILE.safetensors")
    pushed = names.add_parser("push", help="a weights file -> a repository of the hub")
    pushed.add_argument("source", metavar="FILE.safetensors")
    pushed.add_argument("repo", metavar="OWNER/NAME")
    pushed.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="of an evaluation or a sweep of this file, for numbers and pictures",
    )
    pushed.add_argument("--private", action="store_true", help="a new repository for you alone")
    for command in (imported, exported, pushed):
        command.add_argument(
            "--trusted",
            action="append",
            default=[],
            metavar="MODULE",
            help="of your own, which SOURCE may name; several times for several",
        )
    return top


def main() -> None:
    options = parser().parse_args()
    if options.command == "push":
        push_weights(options)
        return
    if options.o.suffix != ".safetensors" or not options.o.parent.is_dir():
        raise UserError(f"-o {options.o}: name a .safetensors file in a folder that is there")
    if options.command == "import":
        published = published_config(options.network, options.schedule)
        saved = import_weights(local_file(options.source), published, options.trusted)
    else:
        saved = read_denoiser(local_file(options.source), options.raw, options.trusted)
        check_weights(saved)
    if options.sampler:
        saved = with_samplers(saved, options.sampler)
    saved = with_rights(halved(saved) if options.half else saved, options)
    write_denoiser(options.o, saved)
    count = sum(value.numel() for value in saved.weights.values())
    print(f"{options.o}: {count / 1e6:.2f} M parameters, {options.o.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    with one_line_errors():
        main()
