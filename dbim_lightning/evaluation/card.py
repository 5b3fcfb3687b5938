"""The model card of a weights file: what it is, how to use it, and its numbers and pictures."""

from pathlib import Path

from omegaconf import OmegaConf

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.origin import short_sha256
from dbim_lightning.evaluation.report.rows import find_jobs
from dbim_lightning.evaluation.report.sheets import SHEET
from dbim_lightning.evaluation.report.summary import PLOTS
from dbim_lightning.evaluation.report.table import table
from dbim_lightning.weights import SavedDenoiser

USE = """```python
import dbim_lightning
from dbim_lightning.samplers import DBIM, ImageNoise

denoiser = dbim_lightning.load("hf://{repo}")
noise = ImageNoise(0, range(len(sources)))  # of sources (B, 3, H, W), from -1 to 1
targets = DBIM(nfe=10).sample(denoiser, denoiser.schedule, sources, noise)
```

or `python evaluate.py weights=hf://{repo} nfe=10`."""


def model_card(repo: str, saved: SavedDenoiser, results: Path | None) -> tuple[str, list[Path]]:
    """A README.md for the hub, and the pictures that it shows.

    Args:
        results: the folder of an evaluation or a sweep of this very file; None tells no numbers.

    Raises:
        UserError: there are no results in the folder, or those of another file.
    """
    head = {"library_name": "dbim_lightning", "pipeline_tag": "image-to-image"}
    head["tags"] = ["image-to-image", "diffusion-bridge", "ddbm", "dbim"]
    if licence := saved.config.get("license"):
        head["license"] = licence
    parts = [f"# {repo.rpartition('/')[2]}", _what(saved), USE.format(repo=repo)]
    numbers, pictures = _results(results, saved.path) if results else ("", [])
    if numbers:
        parts += ["## Results", numbers.rstrip()]
        parts += [f"![{picture.stem}]({picture.name})" for picture in pictures]
    front = OmegaConf.to_yaml(OmegaConf.create(head))
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n", pictures


def _what(saved: SavedDenoiser) -> str:
    count = sum(value.numel() for value in saved.weights.values()) / 1e6
    schedule = saved.config["denoiser"]["schedule"]["_target_"].rpartition(".")[2]
    text = f"A denoising diffusion bridge of dbim_lightning: {count:.2f} M parameters, {schedule}"
    if isinstance(dataset := saved.config.get("dataset"), dict):
        size = dataset.get("image_size")
        name = str(dataset.get("_target_")).rpartition(".")[2]
        text += f", trained on {name}{f' at {size} px' if size else ''}"
    text += f", {saved.step:,} steps." if saved.step else "."
    attribution = saved.config.get("attribution")
    return f"{text}\n\n{attribution}" if attribution else text


def _results(folder: Path, weights: Path) -> tuple[str, list[Path]]:
    jobs = find_jobs(folder)
    sha256 = short_sha256(weights)
    for path, job in jobs.items():
        if job.settings.get("origin.checkpoint_sha256") != sha256:
            raise UserError(
                f"{path} has not the results of {weights}: give those of python evaluate.py "
                f"weights={weights}"
            )
    pictures = [folder / name for name in (SHEET, *PLOTS) if (folder / name).is_file()]
    return table(list(jobs.values())), pictures
