"""A server, and the command that reads from it."""

import sys
from dataclasses import replace

import pytest
from archive_server import ArchiveServer

from dbim_lightning.data.prepare import __main__ as command
from dbim_lightning.data.prepare import download


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.001)
    server = ArchiveServer()
    yield server
    server.close()


@pytest.fixture
def run(server, tmp_path, monkeypatch, capsys):
    """The command in this process, for archives of any hash; returns what it prints."""
    for name, recipe in command.RECIPES.items():
        archives = tuple(replace(archive, md5=None) for archive in recipe.archives)
        monkeypatch.setitem(command.RECIPES, name, replace(recipe, archives=archives))
    monkeypatch.chdir(tmp_path)

    def run(name, *options, url=server.url):
        words = [name, "--workers", "0", *(["--url", url] if url else []), *map(str, options)]
        monkeypatch.setattr(sys, "argv", ["prepare", *words])
        command.main()
        return capsys.readouterr().out

    return run
