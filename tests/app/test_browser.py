"""The page in Chromium: what somebody does there, and that nothing leaves this machine."""

import shutil
import signal
import socket
import subprocess
import sys

import pytest
from bridge_files import write_bridge
from commands import ROOT
from PIL import Image

# Runs the command, and says to which other machines it connects or which it looks up.
WATCHED = """
import runpy, sys
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        print("away:", args[1], flush=True) if args[1][0] != "127.0.0.1" else None
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost"):
        print("away:", args[0], flush=True)
sys.addaudithook(watch)
runpy.run_module("dbim_lightning.app", run_name="__main__", alter_sys=True)
"""
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a server with a small bridge."""
    path = write_bridge(tmp_path_factory.mktemp("browser") / "bridge.safetensors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", WATCHED, f"weights={path}", f"port={port}"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with server:
        line = server.stdout.readline()
        assert line == f"bridge.safetensors: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
        yield f"http://127.0.0.1:{port}"
        server.send_signal(signal.SIGINT)
        assert "away" not in server.stdout.read()
    assert server.returncode == 0


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    """The page once it has drawn its first picture; at the end, what it asked for is looked at."""
    asked, broken = [], []
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(60_000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#picture img")
    yield page
    page.close()
    away = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not away
    assert not broken


def shown(page, place="#picture"):
    return page.locator(f"{place} img").first.get_attribute("src")


def wait_for_another(page, before, place="#picture"):
    playwright.expect(page.locator(f"{place} img").first).not_to_have_attribute(
        "src", before, timeout=60_000
    )


def drawn(page):
    return page.evaluate("document.querySelector('canvas').toDataURL()")


def test_a_stroke_is_coloured_while_it_is_drawn_and_taken_back(page):
    before, empty = shown(page), drawn(page)
    box = page.locator("canvas").bounding_box()
    left, top = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 100, top + 150, steps=5)
    page.wait_for_timeout(200)
    page.mouse.move(left + 200, top + 100, steps=5)
    wait_for_another(page, before)
    page.mouse.up()
    stroke = drawn(page)
    assert stroke != empty
    page.get_by_text("Undo").click()
    assert drawn(page) == empty
    page.get_by_text("Clear").click()
    assert drawn(page) not in (empty, stroke)
    playwright.expect(page.locator("#told")).to_contain_text("5 network calls")


def test_sliders_and_examples_change_the_picture(page):
    before = shown(page)
    page.get_by_label("number input for Seed").fill("7")
    wait_for_another(page, before)
    before = shown(page)
    page.get_by_label("number input for Network calls").fill("9")
    wait_for_another(page, before)
    playwright.expect(page.locator("#told")).to_contain_text("9 network calls")
    before = shown(page)
    page.get_by_label("Example 3").click()
    wait_for_another(page, before)


def test_another_sampler_brings_its_eta(page):
    before = shown(page)
    page.get_by_label("Sampler").first.click()
    page.get_by_role("option", name="dbim", exact=True).click()
    eta = page.get_by_label("number input for Noise")
    playwright.expect(eta).to_have_value("0")
    wait_for_another(page, before)


def test_a_broken_upload_is_a_sentence_and_the_next_one_is_drawn(page, tmp_path):
    before, empty = shown(page), drawn(page)
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7")
    page.locator("input[type=file]").set_input_files(tmp_path / "paper.png")
    alert = page.locator("#told [role=alert]")
    playwright.expect(alert).to_contain_text("paper.png is not a readable image")
    assert "Traceback" not in page.content()
    assert shown(page) == before
    Image.new("RGB", (300, 200), "black").save(tmp_path / "black.png")
    page.locator("input[type=file]").set_input_files(tmp_path / "black.png")
    wait_for_another(page, before)
    assert drawn(page) != empty
    playwright.expect(page.locator("#told")).to_contain_text("5 network calls")


def test_every_tab_shows_pictures(page):
    for name, count in {"Four noises": 1, "Interpolate": 1, "Compare": 2}.items():
        page.get_by_role("tab", name=name).click()
        panel = page.locator("[role=tabpanel]:visible")
        playwright.expect(panel.locator("img")).to_have_count(count)
    before = shown(page, "[role=tabpanel]:visible")
    page.get_by_label("number input for Seed").fill("3")
    wait_for_another(page, before, "[role=tabpanel]:visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(browser, address, scheme):
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#picture img", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) == (scheme == "dark")
    page.close()
