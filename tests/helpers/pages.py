"""What a page of docs/ tells a reader to write and to run."""

import re
import shlex
from pathlib import Path

from commands import ROOT

BLOCK = re.compile(r"([^\n]*)\n\n```(\w*)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"`([\w./]+\.(?:py|yaml))`[^`]*$")


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """Those of a language, "" being commands and what they print, each after its last line."""
    found = BLOCK.findall((ROOT / "docs" / page).read_text())
    return [(before, content) for before, of, content in found if of == language]


def files(page: str) -> dict[str, str]:
    """Path -> content of every file: a block, with its name before it."""
    both = [*blocks(page, "python"), *blocks(page, "yaml")]
    named = [(FILE.search(before), content) for before, content in both]
    return {match[1]: content for match, content in named if match}


def write_files(page: str, folder: Path) -> None:
    for name, content in files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def code(page: str) -> str:
    """All Python that is no file, in a row."""
    return "\n".join(code for before, code in blocks(page, "python") if not FILE.search(before))


def commands(page: str) -> list[list[str]]:
    """The words of every command after "python"."""
    lines = [line for _, content in blocks(page, "") for line in content.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("python ")]
    return [rest for _, *rest in words]
