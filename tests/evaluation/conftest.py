"""What the tests of metrics share."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy.linalg


@pytest.fixture
def checkpoints(tmp_path, monkeypatch) -> Path:
    """The empty folder where weights are looked for; reaching for the network fails."""
    none = tmp_path / "none"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("dbim_lightning.evaluation.features.inception.CLEANFID_FOLDER", none)
    calls = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: calls.append(args))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: calls.append(address))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    yield folder
    assert not calls


@pytest.fixture
def cleanfid_fid(monkeypatch):
    """clean-fid's module, with the form of sqrtm that SciPy has given up."""
    import cleanfid.fid  # noqa: PLC0415 - two seconds that few tests need

    sqrtm = SimpleNamespace(sqrtm=lambda a, disp: (scipy.linalg.sqrtm(a), None))
    monkeypatch.setattr(cleanfid.fid, "linalg", sqrtm)
    return cleanfid.fid
