"""A small bridge that the tests of the page share."""

import pytest
from bridge_files import write_bridge

from dbim_lightning.app.studio import Studio, open_studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory) -> Studio:
    path = write_bridge(tmp_path_factory.mktemp("app") / "bridge.safetensors")
    return open_studio(str(path), None)
