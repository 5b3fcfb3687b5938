"""Where weights come from: a file, a bridge that ships with the package, or the hub."""

from pathlib import Path

from dbim_lightning.errors import UserError
from dbim_lightning.weights.hub import ON_THE_HUB, download

SHIPPED = Path(__file__).parents[1] / "bridges"


def local_file(source: str | Path) -> Path:
    """The file that a source names: a path, the name of a shipped bridge, hf://OWNER/NAME[@REVISION].

    A path need not be one of a file that is there: who reads it says so.

    Raises:
        UserError: a name that no shipped bridge has, or a repository that cannot be loaded from.
    """
    text = str(source)
    if text.startswith(ON_THE_HUB):
        return download(text)
    path = Path(text)
    is_name = path.name == text and not path.suffix
    if not is_name or path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if text not in shipped:
        raise UserError(
            f"{text} is no file, and no bridge that ships with the package: give the path of a "
            f"file, {ON_THE_HUB}OWNER/NAME, or one of {', '.join(shipped)}"
        )
    return shipped[text]
