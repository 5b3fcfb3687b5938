"""Words of shell commands that can be pasted as they are, whatever path is in them."""

import re
import shlex
from pathlib import Path


def path(value: str | Path) -> str:
    """A plain argument, such as FILE in -o FILE."""
    return shlex.quote(str(value))


def word(key: str, value: object) -> str:
    """key=value for train.py and evaluate.py, quoted where Hydra and the shell need it.

    Text and paths arrive as they are, also where they look like a number or an interpolation.
    """
    if isinstance(value, str | Path):
        value = str(value) if _is_plain(str(value)) else _quoted(str(value))
    return shlex.quote(f"{key}={'null' if value is None else value}")


def _is_plain(text: str) -> bool:
    """Whether Hydra takes a bare word for this very text."""
    try:
        float(text)
    except ValueError:
        is_other = text.lower() in ("true", "false", "null")
        return bool(re.fullmatch(r"[\w/.@%+-]+", text, re.ASCII)) and not is_other
    return False


def _quoted(text: str) -> str:
    """In single quotes; backslashes are doubled where they stand before ${ or a quote."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\*)\Z", r"\1\1", text)
    return f"'{text}'"
