"""The handlers of the page, and its server, without a browser."""

import logging
import socket

import pytest
from bridge_files import write_bridge
from PIL import Image

gr = pytest.importorskip("gradio")

from dbim_lightning.app.page import (  # noqa: E402
    BETWEEN,
    EXAMPLES,
    FOUR,
    TWO,
    WAY,
    Page,
    serve,
    spoken,
)
from dbim_lightning.app.studio import open_studio  # noqa: E402
from dbim_lightning.errors import UserError  # noqa: E402

SETTINGS = ("", "dbim_fast", 5, 6.0, 0)


@pytest.fixture(scope="module")
def page(studio):
    return Page(studio)


def test_errors_become_a_sentence_and_change_nothing_else(caplog):
    def fails(error):
        raise error

    guarded = spoken(fails, "told")
    assert guarded(UserError("nfe=1: use <2>")) == {
        "told": '<p role="alert">nfe=1: use &lt;2&gt;</p>'
    }
    assert not caplog.records
    with caplog.at_level(logging.ERROR):
        sentence = guarded(RuntimeError("CUDA\nout of memory"))["told"]
    assert "This failed (RuntimeError): try another picture or setting." in sentence
    assert "out of memory" in caplog.text


def test_a_drawing_gives_a_picture_its_cost_and_its_way(page):
    shown = page.draw(*SETTINGS)
    assert shown[page.picture].startswith('<img src="data:image/png;base64,')
    assert shown[page.told].startswith("5 network calls, ")
    assert shown[page.way] != shown[page.picture]


def test_only_what_the_opened_tab_shows_is_drawn(page):
    def below(tab):
        return page.draw_below(tab, 0, 1, "dbim", "ddbm", *SETTINGS)

    assert below(WAY).keys() == {page.told}
    assert below(FOUR).keys() == {page.four}
    assert below(BETWEEN).keys() == {page.between}
    compared = below(TWO)
    (_, first), (_, second) = page.compared
    assert (compared[first][:15], compared[second][:15]) == ("5 network calls", "5 network calls")


def test_eta_follows_the_sampler(page):
    eta = page.suit("dbim")[page.eta]
    assert (eta.value, eta.interactive) == (0, True)
    assert not page.suit("dbm_solver")[page.eta].interactive


def test_there_are_twelve_small_examples(page):
    assert len(EXAMPLES) == len(page.examples) == 12
    assert sum(path.stat().st_size for path in EXAMPLES) < 60_000
    assert all(Image.open(path).size == (128, 128) for path in EXAMPLES)
    assert page.choose(gr.EventData(None, {"index": 3})) == {page.drawing: page.examples[3]}


def test_a_broken_bridge_and_a_broken_upload_are_told_on_the_page(tmp_path):
    path = write_bridge(tmp_path / "broken.safetensors", scale=float("nan"))
    page = Page(open_studio(str(path), None))
    shown = spoken(page.draw, page.told)(*SETTINGS)
    assert shown.keys() == {page.told}
    assert "the denoiser returned NaN" in shown[page.told]
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7")
    told = spoken(page.take, page.told)(str(tmp_path / "paper.png"))[page.told]
    assert "paper.png is not a readable image" in told


def test_a_taken_port_is_named_with_another(studio):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port} .* give port={port + 1}"):
            serve(studio, "127.0.0.1", port)
