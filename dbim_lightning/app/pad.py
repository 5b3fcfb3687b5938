"""What Gradio has not: a pad that sends lines while they are drawn, and a shelf of examples."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
CANVAS = """<canvas width="{side}" height="{side}" aria-label="Draw here"></canvas>
<div><button class="undo">Undo</button><button class="clear">Clear</button></div>"""
ON_CLICK = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("click", { index: [...element.querySelectorAll("button")].indexOf(button) });
});"""


def pad(side: int, drawing: str) -> gr.HTML:
    """A square of `side` pixels. Its value, also while somebody draws, is the data URL of it."""
    return gr.HTML(
        drawing,
        html_template=CANVAS.format(side=side),
        css_template=(HERE / "pad.css").read_text(encoding="utf-8"),
        js_on_load=(HERE / "pad.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="pad",
    )


def examples(drawings: Sequence[str]) -> gr.HTML:
    """Pictures to choose by a click, whose event has the `index`."""
    buttons = [
        f'<button aria-label="Example {i + 1}"><img src="{drawing}" alt=""></button>'
        for i, drawing in enumerate(drawings)
    ]
    return gr.HTML(
        "".join(buttons), js_on_load=ON_CLICK, apply_default_css=False, elem_id="examples"
    )
