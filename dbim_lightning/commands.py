"""Words of shell commands: read, and written so that they can be pasted whatever is in them."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from dbim_lightning.errors import UserError

FROM_WHEEL = Path(__file__).with_name("conf").is_dir()  # a clone has conf/ at its top


def program(name: str) -> str:
    """How the program `train` or `evaluate` is called: a script of the clone, or a command."""
    return f"dbim-{name}" if FROM_WHEEL else f"python {name}.py"


def calls(words: Sequence[str], default: list[int]) -> list[int]:
    """The numbers of nfe=5,10 among the words of a command.

    Raises:
        UserError: one that is no whole number from 2 to 10,000.
    """
    values = [word.partition("=")[2] for word in words if word.startswith("nfe=")]
    if not values:
        return default
    parts = values[-1].split(",")
    if not all(part.isdecimal() and 2 <= int(part) <= 10_000 for part in parts):
        raise UserError(
            f"nfe={values[-1]}: give whole numbers from 2 to 10,000, such as nfe=5,10,20"
        )
    return [int(part) for part in parts]


def path(value: str | Path) -> str:
    """A plain argument, such as FILE in -o FILE."""
    return shlex.quote(str(value))


def word(key: str, value: object) -> str:
    """key=value for both programs, quoted where Hydra and the shell need it.

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
