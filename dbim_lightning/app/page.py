"""The page, in Gradio: what stands where, and what follows what. A `Studio` draws."""

import html
import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from dbim_lightning.app import drawings
from dbim_lightning.app.pad import examples, pad
from dbim_lightning.app.studio import NOISES, Settings, Studio
from dbim_lightning.errors import UserError

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
EXAMPLES = sorted((HERE / "examples").glob("*.png"))
FONTS = ["system-ui", "sans-serif"]  # of the system, so that none is loaded
THEME = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=FONTS, font_mono=FONTS)
CSS = (HERE / "page.css").read_text(encoding="utf-8")
LARGEST_FILE = "20mb"
FIRST = "dbim_fast"  # the best in few calls

TITLE = "Diffusion bridge, live"
HEAD = (
    f"# {TITLE}\nDraw: while you do, a diffusion bridge carries your lines to a picture, in a few "
    "network calls."
)
CREDITS = (
    "The examples are of [OpenMoji](https://openmoji.org) – the open-source emoji and icon "
    "project. License: [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)."
)

# The tabs, and what they say.
WAY = "Trajectory"
WAY_TOLD = (
    "Above, the states from the first, noisy one on; below, what the network expects at each."
)
FOUR = "Four noises"
FOUR_TOLD = "The first is the picture above. Where all four agree, the drawing decides."
BETWEEN = "Interpolate"
BETWEEN_TOLD = "From the picture of one of the four noises to that of another."
TWO = "Compare"
TWO_TOLD = "Two samplers: the same drawing, noise and number of calls, each at its own eta."


def spoken(handler: Callable[..., dict], told: gr.HTML) -> Callable[..., dict]:
    """A handler whose errors become a sentence where it is told, and change nothing else."""

    @wraps(handler)
    def guarded(*inputs: Any) -> dict:
        try:
            return handler(*inputs)
        except UserError as error:
            sentence = str(error)
        except Exception as error:
            log.exception("an event of the page failed")
            sentence = f"This failed ({type(error).__name__}): try another picture or setting."
        return {told: f'<p role="alert">{html.escape(sentence)}</p>'}

    return guarded


class Page:
    """What stands on the page, and what happens there."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.side = drawings.pad_side(studio.size)
        self.examples = [drawings.uploaded(path, self.side) for path in EXAMPLES]
        names = list(studio.samplers)
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
            self.blocks = blocks
            gr.Markdown(HEAD)
            with gr.Row():  # two, so that a narrow page has the picture right below the pad
                with gr.Column(min_width=300):
                    self.drawing = pad(self.side, self.examples[0])
                with gr.Column(min_width=300):
                    self.picture = gr.HTML(elem_id="picture", elem_classes="picture")
                    self.told = gr.HTML(elem_id="told")
            with gr.Row():
                with gr.Column(min_width=300):
                    self.shelf = examples(self.examples)
                    self.upload = gr.UploadButton("Upload a picture", file_types=["image"])
                with gr.Column(min_width=300):
                    self.sampler = gr.Dropdown(names, value=FIRST, label="Sampler")
                    self.nfe = gr.Slider(2, 50, 5, step=1, label="Network calls (NFE)")
                    self.eta = self._eta(FIRST)
                    self.seed = gr.Slider(0, 99, 0, step=1, label="Seed")
            with gr.Tabs() as self.tabs:
                self._lay_out_tabs(names)
            gr.Markdown(f"{studio.name}, {studio.size} x {studio.size} pixels. {CREDITS}")
            self._connect()

    def _lay_out_tabs(self, names: list[str]) -> None:
        with gr.Tab(WAY):
            gr.Markdown(WAY_TOLD)
            self.way = gr.HTML(elem_classes="strip")
        with gr.Tab(FOUR):
            gr.Markdown(FOUR_TOLD)
            self.four = gr.HTML(elem_classes="strip")
        with gr.Tab(BETWEEN):
            gr.Markdown(BETWEEN_TOLD)
            choices = [(str(i + 1), i) for i in range(NOISES)]
            with gr.Row():
                self.ends = [
                    gr.Radio(choices, value=i, label=label, min_width=150)
                    for i, label in enumerate(["From noise", "To noise"])
                ]
            self.between = gr.HTML(elem_classes="strip")
        with gr.Tab(TWO):
            gr.Markdown(TWO_TOLD)
            self.rivals, self.compared = [], []
            with gr.Row():
                for name in ("dbim", FIRST):
                    with gr.Column(min_width=150):
                        self.rivals.append(gr.Dropdown(names, value=name, label="Sampler"))
                        image = gr.HTML(elem_classes="picture")
                        self.compared.append((image, gr.HTML()))

    def _connect(self) -> None:
        """What follows what; of events that wait for the bridge the last alone counts."""
        settings = [self.drawing, self.sampler, self.nfe, self.eta, self.seed]
        opened = gr.State(WAY)
        chosen = [opened, *self.ends, *self.rivals]
        below = [self.four, self.between, *sum(self.compared, ())]
        shown = [each.change for each in (self.picture, *chosen)]
        self._on(
            [self.blocks.load, *(s.change for s in settings)],
            self.draw,
            settings,
            [self.picture, self.way],
        )
        self._on(shown, self.draw_below, [*chosen, *settings], below)
        self._on([self.upload.upload], self.take, [self.upload], [self.drawing])
        self._on([self.shelf.click], self.choose, [], [self.drawing])
        self._on([self.sampler.input], self.suit, [self.sampler], [self.eta])
        self.tabs.select(_label, outputs=opened, show_progress="hidden", api_visibility="private")

    def _on(
        self, triggers: list, handler: Callable[..., dict], inputs: list, outputs: list
    ) -> None:
        gr.on(
            triggers,
            spoken(handler, self.told),
            inputs,
            [self.told, *outputs],
            trigger_mode="always_last",
            concurrency_id="bridge",
            concurrency_limit=1,
            show_progress="hidden",
            api_visibility="private",
        )

    def draw(self, drawing: str, *settings: Any) -> dict:
        picture, took, way = self.studio.draw(drawing, Settings(*settings))
        return {
            self.picture: _shown(picture, "What the bridge makes of the drawing"),
            self.told: took,
            self.way: _shown(way, WAY_TOLD),
        }

    def draw_below(
        self, tab: str, first: int, second: int, left: str, right: str, drawing: str, *settings: Any
    ) -> dict:
        """What the opened tab shows."""
        studio, chosen = self.studio, Settings(*settings)
        if tab == FOUR:
            return {self.four: _shown(studio.noises(drawing, chosen), FOUR_TOLD)}
        if tab == BETWEEN:
            strip = studio.between(drawing, chosen, first, second)
            return {self.between: _shown(strip, BETWEEN_TOLD)}
        shown = {self.told: gr.skip()}
        if tab == TWO:
            for (image, took), name in zip(self.compared, (left, right), strict=True):
                picture, shown[took] = studio.compare(drawing, chosen, name)
                shown[image] = _shown(picture, f"What {name} makes of the drawing")
        return shown

    def take(self, path: str) -> dict:
        return {self.drawing: drawings.uploaded(Path(path), self.side)}

    def choose(self, event: gr.EventData) -> dict:
        return {self.drawing: self.examples[event.index]}

    def suit(self, sampler: str) -> dict:
        return {self.eta: self._eta(sampler)}

    def _eta(self, sampler: str) -> gr.Slider:
        """At the sampler's own, or greyed out where it has none."""
        eta = self.studio.eta(sampler)
        return gr.Slider(
            0, 10, eta or 0, step=0.1, label="Noise (eta)", interactive=eta is not None
        )


def _shown(image: Image.Image, told: str) -> str:
    """HTML of a picture, and what it shows for those who do not see it."""
    return f'<img src="{drawings.url(image)}" alt="{html.escape(told)}">'


def _label(event: gr.SelectData) -> str:
    return event.value


def serve(studio: Studio, host: str, port: int) -> None:
    """Shows the page until Ctrl-C.

    Raises:
        UserError: the port is taken, or the host none of this machine.
    """
    page = Page(studio).blocks
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=LARGEST_FILE,
            theme=THEME,
            css=CSS,
            footer_links=[],
            share=False,
            ssr_mode=False,
            mcp_server=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on port={port} of host={host}: another program does, or the host is "
            f"none of this machine; give port={port + 1}, say"
        ) from error
    print(f"{studio.name}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    page.block_thread()
