"""What a configuration in the file of another person may hold: plain values, and known classes.

Nothing that it names is imported before it has been looked at, and nothing in it is interpolated.
"""

import ast
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dbim_lightning.errors import UserError

DEEPEST = 100  # levels
LARGEST = 100_000  # entries; lists that hold one another can stand for more than fits anywhere
OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")
PACKAGE = Path(__file__).parent
KNOWN = {
    "lightning.Trainer",
    "dbim_lightning.load_sampler",
    "dbim_lightning.evaluation.Protocol",
    "dbim_lightning.evaluation.protocol.Protocol",
}
ROOMS = ("bridge", "networks", "samplers", "objectives", "data", "training")
ROOMS += ("evaluation.metrics", "evaluation.features")
NOBODYS = {*sys.stdlib_module_names, "dbim_lightning", "torch", "lightning"}
FUNCTIONS = "dbim_lightning.data.corruptions"


def require_plain(value: Any, where: str | Path) -> None:
    """Refuses what is not made of texts, numbers, booleans, None, lists and dicts by text, or is
    interpolated.

    Args:
        where: of what file, for the error.

    Raises:
        UserError: as said.
    """
    for count, (place, item) in enumerate(_entries(value)):
        if count > LARGEST:
            raise UserError(f"{where} has more than {LARGEST:,} entries: use another file")
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str) or (key.startswith("_") and key not in OF_HYDRA):
                    raise UserError(f"{where}: {place or 'it'} has the key {key!r:.99}: remove it")
        elif isinstance(item, str):
            if "${" in item:
                raise UserError(
                    f"{where}: {place}={item!r:.99} would be interpolated: write what it stands for"
                )
        elif not isinstance(item, list | int | float | None):
            kind = type(item).__name__
            raise UserError(f"{where}: {place or 'it'} is a {kind}: only plain values are taken")


def require_harmless(
    config: dict[str, Any], where: str | Path, trusted: Collection[str] = ()
) -> None:
    """Refuses a configuration that is not plain, or names what is no class of this project's kinds.

    Allowed by `_target_` are `lightning.Trainer`, the optimisers of torch, the classes of this
    project that configurations are made of, its corruptions, and what is trusted.

    Args:
        where: of what file, for the error.
        trusted: modules of the user's own by their first name, and targets in full.

    Raises:
        UserError: as said, before anything is imported.
    """
    require_plain(config, where)
    nodes = [(place, item) for place, item in _entries(config) if isinstance(item, dict)]
    named = {f"{place}._target_": node["_target_"] for place, node in nodes if "_target_" in node}
    refused = {
        place.removeprefix("."): target
        for place, target in named.items()
        if not (isinstance(target, str) and _is_allowed(target, trusted))
    }
    _require_no_downloads(nodes, where, trusted)
    if not refused:
        return
    modules = dict.fromkeys(str(target).partition(".")[0] for target in refused.values())
    own = [name for name in modules if name.isidentifier() and name not in NOBODYS]
    place, target = next(iter(refused.items()))
    instead = f", or, if the code is your own, give trusted=[{','.join(own)}]" if own else ""
    raise UserError(
        f"{where}: {place}={target!s:.99} is no class that a file may name: do not use this "
        f"file{instead}"
    )


def _require_no_downloads(
    nodes: Collection[tuple[str, dict]], where: object, trusted: Collection[str]
) -> None:
    """Refuses a sampler that a file has come from the hub, unless the command line has it, too."""
    loads = "dbim_lightning.load_sampler"
    for place, node in nodes:
        path = str(node.get("path"))
        if node.get("_target_") == loads and path.startswith("hf://") and loads not in trusted:
            raise UserError(
                f"{where}: {place.removeprefix('.')}.path={path:.99} would be loaded from the hub: "
                "do not use this file, or give sampler=recommended and weights=hf://… yourself"
            )


def inert(value: Any) -> Any:
    """The same with targets as mere texts, under keys that nothing acts on."""
    if isinstance(value, dict):
        return {
            key.strip("_") if key in OF_HYDRA else key: inert(item) for key, item in value.items()
        }
    return [inert(item) for item in value] if isinstance(value, list) else value


def _entries(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """A value and all that is in it, with places from the top; one after the other, so that no
    depth is too large."""
    rest = [(place, value, 0)]
    while rest:
        place, item, depth = rest.pop()
        if depth > DEEPEST or len(rest) > LARGEST:
            raise UserError(f"{place:.99}… holds more than a configuration can: use another file")
        yield place, item
        inside = list(item.items()) if isinstance(item, dict) else []
        inside = list(enumerate(item)) if isinstance(item, list) else inside
        prefix = f"{place}." if place else ""
        rest += [(f"{prefix}{key}", each, depth + 1) for key, each in reversed(inside)]


def _is_allowed(target: str, trusted: Collection[str]) -> bool:
    if {target, target.partition(".")[0]} & set(trusted) or target in KNOWN:
        return True
    module, _, name = target.rpartition(".")
    if any(part.startswith("_") or not part.isidentifier() for part in target.split(".")):
        return False
    if module == "torch.optim":
        optim = sys.modules.get(module)
        kind = getattr(optim, name, None)
        return isinstance(kind, type) and issubclass(kind, optim.Optimizer)
    return _is_own(module, name)


@cache
def _is_own(module: str, name: str) -> bool:
    """Whether a module of this project that configurations may name defines a class, or has it from
    another one; told from its text, so that nothing is imported."""
    room = module.removeprefix("dbim_lightning.")
    inside = any(f"{room}.".startswith(f"{allowed}.") for allowed in ROOMS)
    if room == module or not inside or f"{room}.".startswith("data.prepare."):
        return False
    place = PACKAGE.joinpath(*room.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        return False
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        is_kind = isinstance(node, ast.ClassDef)
        is_kind |= isinstance(node, ast.FunctionDef) and module == FUNCTIONS
        if is_kind and node.name == name:
            return True
        if isinstance(node, ast.ImportFrom) and node.module != module:
            taken = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
            if taken and _is_own(node.module, taken[0]):
                return True
    return False
