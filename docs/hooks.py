"""What the site has beyond docs/: the README as its home, the notebooks, and the reference.

Links of all pages are those of the repository. A file outside docs/ that one leads to comes along.
"""

import ast
import json
import re
from os.path import relpath
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGE = "dbim_lightning"
ROOMS = (
    "bridge",
    "samplers",
    "objectives",
    "networks",
    "weights",
    "data",
    "evaluation",
    "evaluation.metrics",
    "evaluation.features",
)
FOR_THOSE_WHO_CARRY_ON = ("CONTRIBUTING.md", "CHANGELOG.md")
OF_ITS_OWN = "samplers.latents"  # is exported by samplers, and has a page
RELATIVE_LINK = re.compile(r"\]\(([^\s)#:]+)")


def on_files(files, config):
    pages = {"index.md": (ROOT / "README.md").read_text()}
    pages |= {name: (ROOT / name).read_text() for name in FOR_THOSE_WHO_CARRY_ON}
    pages |= {
        f"notebooks/{path.stem}.md": notebook(json.loads(path.read_text()))
        for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    pages |= {f"reference/{name}.md": text for name, text in references().items()}
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads every link to the place that a file of the repository has in the site."""
    here = in_repository(page.file.src_uri)

    def moved(link):
        target = (here.parent / link[1]).resolve()
        if not target.is_relative_to(ROOT) or not target.is_file():
            return link[0]
        place = in_site(target)
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(target)))
        return "](" + relpath(place, Path(page.file.src_uri).parent)

    return RELATIVE_LINK.sub(moved, markdown)


def in_repository(place: str) -> Path:
    """The file that a page is made from."""
    if place == "index.md":
        return ROOT / "README.md"
    if place in FOR_THOSE_WHO_CARRY_ON:
        return ROOT / place
    if place.startswith("notebooks/"):
        return (ROOT / place).with_suffix(".ipynb")
    return ROOT / "docs" / place


def in_site(path: Path) -> str:
    """The opposite of `in_repository`."""
    place = path.relative_to(ROOT).as_posix()
    if place == "README.md":
        return "index.md"
    if path.suffix == ".ipynb":
        return str(Path(place).with_suffix(".md"))
    return place.removeprefix("docs/")


def notebook(content: dict) -> str:
    """A notebook with its outputs, texts and PNG pictures, in Markdown."""
    parts = []
    for cell in content["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            if "text" in output:
                parts.append(f"```\n{''.join(output['text'])}\n```")
            elif "image/png" in output.get("data", {}):
                png = "".join(output["data"]["image/png"]).replace("\n", "")
                parts.append(f"![What this code shows](data:image/png;base64,{png})")
    return "\n\n".join(parts)


def references() -> dict[str, str]:
    """Name -> page, with everything that a room exports."""
    pages = {PACKAGE: listed(PACKAGE, ["load", "load_sampler"])}
    for room in ROOMS:
        exports = exported(room)
        latents = exports.pop(OF_ITS_OWN, [])
        names = [name for module in exports.values() for name in module]
        pages[room] = listed(f"{PACKAGE}.{room}", names)
        if latents:
            pages["latents"] = listed(f"{PACKAGE}.{OF_ITS_OWN}", latents)
    return pages


def exported(room: str) -> dict[str, list[str]]:
    """Module of the package -> what the room takes from it."""
    tree = ast.parse((ROOT / PACKAGE / room.replace(".", "/") / "__init__.py").read_text())
    return {
        node.module.removeprefix(f"{PACKAGE}."): [name.name for name in node.names]
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
    }


def listed(module: str, names: list[str]) -> str:
    return f"# {module}\n\n::: {module}\n    options:\n      members: {json.dumps(names)}\n"
