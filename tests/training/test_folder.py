"""A folder holds one run."""

import pytest
import torch

from dbim_lightning.errors import UserError
from dbim_lightning.training.folder import finished_at, require_own


def checkpoint(folder, name, step):
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step}, path)
    return path


def test_a_folder_that_holds_a_run_is_refused_with_the_way_to_go_on(tmp_path):
    require_own(tmp_path / "new", None, 0)
    (tmp_path / "empty").mkdir()
    require_own(tmp_path / "empty", None, 0)
    other = checkpoint(tmp_path / "other", "last.ckpt", 5)
    checkpoint(tmp_path / "run", "step_0000003.ckpt", 3)
    for resumed in (None, other):
        with pytest.raises(UserError, match=r"run holds a run already: .*resume=.*run/checkpoints"):
            require_own(tmp_path / "run", resumed, 5)
    require_own(tmp_path / "new", other, 5)


def test_a_run_goes_on_in_its_folder_from_its_last_step_alone(tmp_path):
    early, last = (
        checkpoint(tmp_path, name, step)
        for name, step in (("step_0000003.ckpt", 3), ("last.ckpt", 5))
    )
    require_own(tmp_path, last, 5)
    require_own(tmp_path / "branch", early, 3)
    with pytest.raises(UserError, match=r"later steps than .*step_0000003\.ckpt"):
        require_own(tmp_path, early, 3)


def test_a_finished_run_says_at_which_step(tmp_path):
    assert finished_at(tmp_path) is None
    (tmp_path / "training.json").write_text('{"step": 7, "val/error": 0.1}')
    assert finished_at(tmp_path) == 7
    with pytest.raises(UserError, match="holds a run already"):
        require_own(tmp_path, None, 0)


def test_a_broken_last_checkpoint_is_named_with_what_to_do(tmp_path):
    early = checkpoint(tmp_path, "step_0000003.ckpt", 3)
    (early.parent / "last.ckpt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"last\.ckpt is not a readable .*or delete it, to go on"):
        require_own(tmp_path, early, 3)
