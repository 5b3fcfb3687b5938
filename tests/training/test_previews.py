"""What a preview hands to the sampler."""

import re
from types import SimpleNamespace

import torch
from golden_data import ToyNetwork
from linear_network import Linear
from short_training import Pairs

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VESchedule
from dbim_lightning.samplers import DBIM
from dbim_lightning.training import Previews, callbacks


class Toy(ToyNetwork):
    def __init__(self):
        super().__init__()
        self.labels = []

    def forward(self, x, c_noise, x_T, y):
        self.labels.append(y.tolist())
        return super().forward(x, c_noise, x_T).to(x)


def test_a_mask_keeps_what_is_known_and_labels_reach_the_network(tmp_path, monkeypatch):
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    data = [
        {"x_0": x, "x_T": x * (1 - mask), "mask": mask, "label": 10 + i, "index": i, "name": ""}
        for i, x in enumerate(images)
    ]
    trainer = SimpleNamespace(
        is_global_zero=True,
        val_dataloaders=SimpleNamespace(dataset=data),
        global_step=7,
        loggers=[],
    )
    denoiser = BridgeDenoiser(Toy(), VESchedule(), DDBMPreconditioning()).eval()
    module = SimpleNamespace(denoiser=denoiser)
    sheets = {}
    monkeypatch.setattr(callbacks, "save_sheet", sheets.__setitem__)
    Previews(tmp_path, [DBIM(3, eta=1)], 3).on_validation_epoch_end(trainer, module)
    rows = dict(sheets[tmp_path / "step_0000007.png"])
    hole = mask.bool().expand(3, 3, -1, -1)
    assert torch.equal(rows["NFE 3"][~hole], rows["source"][~hole])
    assert not torch.equal(rows["NFE 3"][hole], rows["source"][hole])
    assert denoiser.network.labels == [[10, 12, 14]] * 3


def test_one_that_cannot_be_written_does_not_end_the_training(tmp_path, capsys):
    (tmp_path / "previews").write_text("a file, where nothing can be written")
    images = Pairs(2)
    trainer = SimpleNamespace(
        is_global_zero=True, val_dataloaders=SimpleNamespace(dataset=images), global_step=7
    )
    denoiser = BridgeDenoiser(Linear(), VESchedule(), DDBMPreconditioning()).eval()
    previews = Previews(tmp_path / "previews", [DBIM(2)], 2)
    previews.on_validation_epoch_end(trainer, SimpleNamespace(denoiser=denoiser))
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"\nwarning: cannot write .*step_0000007\.png .*; training goes on\n", printed
    )
