"""The folder of a run, which holds one run alone."""

from pathlib import Path

from dbim_lightning.commands import word
from dbim_lightning.errors import UserError
from dbim_lightning.files import read_json
from dbim_lightning.weights.files import read_tensors

CHECKPOINTS, LAST, FINISHED = "checkpoints", "last.ckpt", "training.json"


def require_own(folder: Path, resumed: Path | None, step: int) -> None:
    """Refuses a folder that holds another run, or this one with more steps than it goes on from.

    Args:
        folder: to write to.
        resumed: the checkpoint that is gone on from, or None.
        step: of that checkpoint.

    Raises:
        UserError: as said.
    """
    checkpoints, last = folder / CHECKPOINTS, folder / CHECKPOINTS / LAST
    holds_run = any(checkpoints.glob("*.ckpt")) or (folder / FINISHED).exists()
    is_own = resumed is not None and resumed.resolve().parent == checkpoints.resolve()
    if holds_run and not is_own:
        raise UserError(
            f"{folder} holds a run already: choose another with hydra.run.dir=DIR, or go on "
            f"with {word('resume', last)}"
        )
    if is_own and last.exists() and _step_of(last) > step:
        raise UserError(
            f"{folder} has later steps than {resumed}: go on with {word('resume', last)}, or "
            "branch off into another folder with hydra.run.dir=DIR"
        )


def _step_of(checkpoint: Path) -> int:
    try:
        step = read_tensors(checkpoint).get("global_step")
        if type(step) is not int:
            raise UserError(f"{checkpoint} does not say its step: copy it again")
        return step
    except UserError as error:
        raise UserError(f"{error}; or delete it, to go on from an earlier one") from error


def finished_at(folder: Path) -> int | None:
    """The step at which the run in a folder was finished, if it was."""
    result = folder / FINISHED
    if not result.exists():
        return None
    remedy = "delete it, and resume the run to have it again"
    if type(step := read_json(result, remedy).get("step")) is not int:
        raise UserError(f"{result} has no step: {remedy}")
    return step
