"""Tables of commands that are refused, and trying one in a fork of this process."""

import importlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from forked import Ended, command, forked

LATE = ("lightning", "hydra", "wandb", "dbim_lightning.evaluation.report.sheets")
DATA = "dataset=paired_folder dataset.root=PAIRS dataset.image_size=32"
BEGINNINGS = {
    "TRAIN": f"train.py {DATA}",
    "CLASSES": "train.py dataset=restoration dataset.root=CLASSES dataset.image_size=32 "
    "dataset.labels=true",
    "EVALUATE": "evaluate.py checkpoint=CHECKPOINT metrics=paired",
    "SAMPLES": "evaluate.py nfe=5 metrics=paired num_images=2 dataset=paired_folder "
    "dataset.root=PAIRS dataset.image_size=32 samples=",
    "PREVIEW": f"-m dbim_lightning.data.preview {DATA}",
}


def import_late() -> None:
    """All that takes long to import, once for all forks."""
    for name in LATE:
        importlib.import_module(name)


def table(name: str) -> list[tuple[str, str]]:
    """(command, part of its line) of a file in tests."""
    text = Path(__file__).parents[1].joinpath(name).read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(line.startswith("    ") == i % 2 for i, line in enumerate(lines))
    return [(of, part.strip()) for of, part in zip(lines[::2], lines[1::2], strict=True)]


def with_places(text: str, places: Mapping[str, Path]) -> str:
    return re.sub("|".join(places), lambda found: str(places[found[0]]), text)


def run(words: str, places: Mapping[str, Path], folder: Path) -> Ended:
    beginning, _, rest = words.partition(" ")
    whole = f"{BEGINNINGS.get(beginning, beginning)} {rest}".replace("= ", "=")
    return forked(command(shlex.split(with_places(whole, places))), folder)


def require_refused(words: str, part: str, places: Mapping[str, Path], folder: Path) -> None:
    """The command ends with one line that holds this part, and leaves nothing in its folder."""
    folder.mkdir()
    ended = run(words, places, folder)
    assert ended.status == 1, ended.text
    last = ended.text.strip().splitlines()[-1]
    assert last.startswith("error: "), ended.text
    assert with_places(part, places) in last
    assert "Traceback" not in ended.text
    assert list(folder.iterdir()) == []
