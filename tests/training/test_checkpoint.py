"""Reading checkpoints: what is refused, and with which words."""

import os
import pickle

import pytest
import torch

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.errors import UserError
from dbim_lightning.networks import ADMUNet
from dbim_lightning.training.checkpoint import require_resumable
from dbim_lightning.weights import CONFIG_KEY, load_weights, newest_checkpoint, read_denoiser


def denoiser(channel_mult=(1,)):
    network = ADMUNet(32, channel_mult, 1, [], num_head_channels=32)
    return BridgeDenoiser(network, VPSchedule(), DDBMPreconditioning())


def save(path, bridge, config=None):
    state = {f"denoiser.{key}": value for key, value in bridge.state_dict().items()}
    content = {"state_dict": state, "current_model_state": state, "global_step": 7}
    torch.save(content | {CONFIG_KEY: config or {"denoiser": {"schedule": {}}}}, path)
    return path


def test_weights_survive_the_round_trip(tmp_path):
    original, copy = denoiser(), denoiser()
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter)
    saved = read_denoiser(save(tmp_path / "a.ckpt", original))
    assert (saved.step, saved.config) == (7, {"denoiser": {"schedule": {}}})
    load_weights(copy, saved)
    for key, value in original.state_dict().items():
        assert torch.equal(copy.state_dict()[key], value)


def test_another_network_is_named_by_its_first_differing_weights(tmp_path):
    saved = read_denoiser(save(tmp_path / "a.ckpt", denoiser((1, 2))))
    with pytest.raises(UserError, match=r"another network; \d+ weights differ, first network\."):
        load_weights(denoiser(), saved)


def test_truncated_file_is_not_readable(tmp_path):
    path = save(tmp_path / "a.ckpt", denoiser())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_denoiser(path)


def test_code_in_a_pickle_is_never_run(tmp_path):
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return marker.touch, ()

    path = tmp_path / "a.ckpt"
    with path.open("wb") as file:
        pickle.dump(Bomb(), file)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_denoiser(path)
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_denoiser(path)
    assert not marker.exists()


def test_checkpoint_of_another_program(tmp_path):
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"as files of a training do"):
        read_denoiser(tmp_path / "a.ckpt")


def test_newest_is_the_run_that_finished_last(tmp_path):
    for name in ("b", "a", "unfinished"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "training.json").write_text("{}")
    (tmp_path / "a" / "training.json").write_text("{}")
    os.utime(tmp_path / "b" / "training.json", (0, 0))
    assert newest_checkpoint(tmp_path) == tmp_path / "a" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match="no finished run"):
        newest_checkpoint(tmp_path / "unfinished")


@pytest.mark.parametrize(
    "changes",
    [
        {"loops": 3},
        {"loops": {"fit_loop": {}}},
        {"loops": {"fit_loop": {"epoch_loop.state_dict": {}}}},
        {"optimizer_states": "x"},
        {"optimizer_states": [{"state": 3, "param_groups": []}]},
        {"optimizer_states": [{"state": {}, "param_groups": [3]}]},
        {"callbacks": "x"},
        {"lr_schedulers": [3]},
        {"lr_schedulers": [{"last_epoch": "x"}]},
        {"pytorch-lightning_version": "abc"},
        {"PairDataModule": {"step": "x", "images": 1}},
        {"epoch": None},
        {"skipped_steps": "x"},
        {"since_last_row": [3]},
        {"since_last_row": {"loss": 3}},
        {"epoch": -1},
    ],
)
def test_a_state_of_another_form_is_not_gone_on_from(trained, tmp_path, changes):
    whole = trained / "checkpoints" / "last.ckpt"
    require_resumable(whole)
    torch.save(torch.load(whole, weights_only=True) | changes, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt cannot be gone on from"):
        require_resumable(tmp_path / "a.ckpt")
