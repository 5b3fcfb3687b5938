"""What the tests of metrics share."""

import socket
from pathlib import Path

import pytest


@pytest.fixture
def checkpoints(tmp_path, monkeypatch) -> Path:
    """The empty folder where weights are looked for; reaching for the network fails."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("dbim_lightning.evaluation.inception.CLEANFID_FOLDER", tmp_path / "none")
    calls = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: calls.append(args))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: calls.append(address))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    yield folder
    assert not calls
