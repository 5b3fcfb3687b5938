"""What several tests share."""

import os
from collections import Counter
from pathlib import Path

import pytest
from commands import TINY, run
from filelock import FileLock

from dbim_lightning.data import OpenMoji

os.environ["WANDB_MODE"] = "disabled"


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that the workers of pytest-xdist have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def openmoji_root(shared) -> Path:
    """Where the 32 px cache of OpenMoji lies; drawn on first use."""
    root = Path(__file__).parents[1] / "data" / "openmoji"
    with FileLock(shared / "openmoji.lock"):
        OpenMoji("test", root=root)
    return root


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def trained(shared, openmoji_root):
    """The folder of a short run, the only one beside which there is no other."""
    folder = shared / "trained" / "first"
    options = [*TINY, f"dataset.root={openmoji_root}", f"hydra.run.dir={folder}"]
    with FileLock(shared / "trained.lock"):
        if not folder.exists():
            run("train.py", "trainer.max_steps=6", *options)
    return folder


def pytest_terminal_summary(terminalreporter):
    """Counts the golden cases by kind: tests that recorded the property "golden"."""
    counts = Counter(
        (dict(report.user_properties)["golden"], outcome)
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.stats.get(outcome, [])
        if "golden" in dict(report.user_properties)
    )
    if counts:
        terminalreporter.section("golden vectors")
    for (kind, outcome), count in sorted(counts.items()):
        terminalreporter.write_line(f"{kind:26} {count:4} {outcome}")
