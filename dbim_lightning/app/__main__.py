"""A page to draw on: python -m dbim_lightning.app weights=FILE

weights=FILE        a weights file or checkpoint; openmoji by default
port=7860           of the page
host=127.0.0.1      who may see it: this machine alone; 0.0.0.0 lets the network
image_size=64       where the file does not say it
trusted=[geometric] modules of your own that the file may name
"""

import argparse
import os
import signal
import sys
import tempfile
from typing import Annotated, Any

from dbim_lightning.composing import unknown_key
from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.values import Range, converted

DEFAULTS: dict[str, Any] = {
    "weights": "openmoji",
    "port": 7860,
    "host": "127.0.0.1",
    "image_size": None,
    "trusted": [],
}
KINDS = {
    "weights": str,
    "port": Annotated[int, Range(1, 65535)],
    "host": str,
    "image_size": Annotated[int, Range(1, 2048)],
    "trusted": list[str],
}


def parsed(words: list[str]) -> dict[str, Any]:
    """The values of key=value words.

    Raises:
        UserError: another key, or a value that it cannot have.
    """
    values = dict(DEFAULTS)
    for word in words:
        key, _, value = word.partition("=")
        if key not in KINDS:
            raise UserError(unknown_key(key, set(KINDS)))
        parts = (part.strip() for part in value.strip("[]").split(","))
        given = [part for part in parts if part] if key == "trusted" else value
        values[key] = converted(key, given, KINDS[key])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dbim_lightning.app",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="key=value")
    values = parsed(parser.parse_args().words)
    host, port = values.pop("host"), values.pop("port")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in ("NO_PROXY", "no_proxy"):  # the page is asked by Gradio whether it is there
        os.environ[name] = f"{os.environ.get(name, '')},127.0.0.1,localhost,{host}"
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # takes the folder away
    with tempfile.TemporaryDirectory(prefix="dbim_lightning_app_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # of uploads and pictures
        try:
            from dbim_lightning.app.page import serve  # noqa: PLC0415
        except ImportError as error:
            raise UserError(
                f"the page cannot be shown ({error}): pip install 'dbim-lightning[app]' (in a "
                "clone: pip install -e '.[app]')"
            ) from error
        import torch  # noqa: PLC0415

        from dbim_lightning.app.studio import open_studio  # noqa: PLC0415

        torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # one core is the browser's
        serve(open_studio(**values), host, port)


if __name__ == "__main__":
    with one_line_errors():
        main()
