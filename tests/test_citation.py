"""What is cited is this version."""

import tomllib

import yaml
from commands import ROOT

import dbim_lightning


def test_the_version_to_cite_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == dbim_lightning.__version__
    assert citation["license"] in project["license"]
