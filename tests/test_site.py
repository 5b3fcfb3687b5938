"""The documentation, built as `make docs` does: whole, and needing no other server."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from commands import ROOT
from filelock import FileLock

pytest.importorskip("mkdocs", reason="the docs extra is not installed")
FETCHED = {"img", "script", "link", "iframe", "source"}  # by a browser, without being asked


@pytest.fixture(scope="session")
def site(shared) -> Path:
    folder = shared / "site"
    with FileLock(shared / "site.lock"):
        if not folder.exists():
            subprocess.run(
                [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
                cwd=ROOT,
                env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
                check=True,
            )
    return folder


class Page(HTMLParser):
    """What a page links to, what it fetches, its anchors and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.fetched, self.anchors, self.text = set(), set(), set(), ""
        self.inside = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        place = attributes.get("src") or attributes.get("href")
        if place and attributes.get("rel") != "canonical":
            (self.fetched if tag in FETCHED else self.links).add(place)
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("code", "pre", "script", "style", "span", "a"):
            self.text += data


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_it_fetches_nothing_from_elsewhere(site, pages):
    fetched = {place for page in pages.values() for place in page.fetched}
    assert not [place for place in fetched if urlsplit(place).scheme not in ("", "data")]
    styles = [path for path in site.rglob("*.css") if "url(http" in path.read_text()]
    assert not styles


def test_no_link_is_dead_and_no_picture_missing(pages):
    dead = []
    for path, page in pages.items():
        for place in page.links | page.fetched:
            parts = urlsplit(place)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else {""}
            if not target.is_file() or (
                target in pages and unquote(parts.fragment) not in anchors | {""}
            ):
                dead.append(f"{path.name}: {place}")
    assert not dead


def test_every_page_of_the_repository_is_in_it(site, pages):
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    assert {path.stem for path in sources} <= {path.stem for path in pages}
    home = Page(site / "index.html")
    assert {"images/demo_images.png", "samplers.html", "notebooks/latents.html"} <= (
        home.links | home.fetched
    )


@pytest.mark.parametrize(
    ("page", "anchor"),
    [
        ("dbim_lightning", "load"),
        ("bridge", "bridge.VPSchedule"),
        ("samplers", "samplers.Sampler.sample"),
        ("latents", "samplers.latents.encode"),
        ("objectives", "objectives.BridgeMatching"),
        ("networks", "networks.ADMUNet"),
        ("weights", "weights.read_denoiser"),
        ("evaluation", "evaluation.Evaluator"),
        ("evaluation.metrics", "evaluation.metrics.Metric"),
    ],
)
def test_the_reference_has_what_rooms_export(site, pages, page, anchor):
    assert f"dbim_lightning.{anchor}" in pages[site / "reference" / f"{page}.html"].anchors


def test_lists_and_tables_are_some(pages):
    """Markdown that code hosts take for a list or a table, and Python's does not, stays text."""
    found = [
        f"{path.name}: {line}"
        for path, page in pages.items()
        for line in page.text.splitlines()
        if re.match(r"\s*(- |\d+\. |\| )", line)
    ]
    assert not found
