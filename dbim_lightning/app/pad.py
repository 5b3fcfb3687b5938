"""The pad: a canvas whose value is the drawing on it, as a data URL, also while it is drawn."""

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
CANVAS = """<canvas width="{side}" height="{side}" aria-label="Draw here"></canvas>
<div><button class="undo">Undo</button><button class="clear">Clear</button></div>"""


def pad(side: int, drawing: str) -> gr.HTML:
    """A square of `side` pixels, with a drawing on it."""
    return gr.HTML(
        drawing,
        html_template=CANVAS.format(side=side),
        css_template=(HERE / "pad.css").read_text(encoding="utf-8"),
        js_on_load=(HERE / "pad.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="pad",
    )
