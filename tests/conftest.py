"""What several tests share."""

import os
from pathlib import Path

import pytest

from dbim_lightning.data import OpenMoji

os.environ["WANDB_MODE"] = "disabled"


@pytest.fixture(scope="session")
def openmoji_root() -> Path:
    """Where the 32 px cache of OpenMoji lies; drawn on first use."""
    root = Path(__file__).parents[1] / "data" / "openmoji"
    OpenMoji("test", root=root)
    return root
