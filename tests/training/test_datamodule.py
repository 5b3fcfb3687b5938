import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import Dataset

from dbim_lightning.data import Pair
from dbim_lightning.errors import UserError
from dbim_lightning.training import BridgeModule, PairDataModule
from dbim_lightning.training.datamodule import TrainingPairs


class Ramps(Dataset):
    """Ten pairs whose columns rise; source, target and mask differ by an offset."""

    def __init__(self, split: str):
        self.split = split

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Pair:
        ramp = torch.arange(4.0).expand(3, 4, 4)
        return Pair(x_0=ramp, x_T=ramp + 1, mask=ramp[:1], index=index, name=f"{self.split}{index}")


class Recorder(LightningModule):
    """Learns nothing, remembers which images it saw."""

    on_load_checkpoint = BridgeModule.on_load_checkpoint

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_seen, self.val_seen = [], []

    def training_step(self, batch):
        self.train_seen += batch["index"].tolist()
        return self.weight * batch["x_0"].mean()

    def validation_step(self, batch):
        self.val_seen += batch["index"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    tmp_path, max_steps: int, checkpoint=None, batch_size=3, accumulate=2, **data
) -> tuple[Recorder, Trainer]:
    trainer = Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        val_check_interval=4,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recorder = Recorder()
    trainer.fit(recorder, PairDataModule(Ramps, batch_size, **data), ckpt_path=checkpoint)
    return recorder, trainer


def as_rank(module: PairDataModule, rank: int, world_size: int, **trainer) -> PairDataModule:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, **trainer)
    return module


def test_a_resumed_run_continues_the_order(tmp_path):
    whole, trainer = fit(tmp_path, max_steps=6)
    assert trainer.global_step == 6
    assert len(whole.train_seen) == 6 * 2 * 3
    assert sorted(whole.train_seen[:10]) == list(range(10))
    assert whole.val_seen[:10] == list(range(10))

    _, trainer = fit(tmp_path, max_steps=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second, trainer = fit(tmp_path, max_steps=6, checkpoint=tmp_path / "last.ckpt")
    assert trainer.global_step == 6
    assert second.train_seen == whole.train_seen[12:]


@pytest.mark.parametrize(("batch_size", "accumulate"), [(6, 2), (1, 2), (3, 4), (12, 1)])
def test_a_resumed_run_skips_no_image_if_its_batches_are_others(tmp_path, batch_size, accumulate):
    whole, _ = fit(tmp_path, max_steps=12)
    _, trainer = fit(tmp_path, max_steps=2)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    options = {"batch_size": batch_size, "accumulate": accumulate}
    second, trainer = fit(tmp_path, 3, tmp_path / "first.ckpt", **options)
    per_step = batch_size * accumulate
    assert second.train_seen == whole.train_seen[12 : 12 + per_step]
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    third, _ = fit(tmp_path, 4, tmp_path / "second.ckpt")
    assert third.train_seen == whole.train_seen[12 + per_step : 18 + per_step]


def test_max_images_limits_every_split(tmp_path):
    recorder, _ = fit(tmp_path, max_steps=2, max_images=4)
    assert set(recorder.train_seen) == set(recorder.val_seen) == set(range(4))


def test_validation_takes_a_fixed_part_of_a_large_split():
    for _ in range(2):
        module = as_rank(PairDataModule(Ramps, batch_size=2, num_validation_images=4), 0, 1)
        module.setup("validate")
        indices = [i for batch in module.val_dataloader() for i in batch["index"].tolist()]
        assert indices == [0, 3, 6, 9]


def test_ranks_share_validation_without_repeats():
    shares = []
    for rank in range(3):
        module = as_rank(PairDataModule(Ramps, batch_size=2), rank, 3)
        module.setup("validate")
        shares.append(torch.cat([batch["index"] for batch in module.val_dataloader()]).tolist())
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_fewer_validation_images_than_processes_are_refused():
    module = as_rank(PairDataModule(Ramps, batch_size=2), 0, 11)
    module.setup("validate")
    with pytest.raises(UserError, match="10 validation images for 11 processes"):
        module.val_dataloader()


def test_splits_are_built_for_the_stage_only():
    built = []
    module = PairDataModule(lambda split: built.append(split) or Ramps(split), batch_size=2)
    module.setup("validate")
    module.setup("validate")
    assert built == ["validation"]


def test_flips_hit_all_images_alike():
    flipped, pairs = 0, TrainingPairs(Ramps("train"), seed=0, flip=True)
    for position in range(200):
        pair = pairs[position, position % 10]
        assert torch.equal(pair["x_T"], pair["x_0"] + 1)
        assert torch.equal(pair["mask"], pair["x_0"][:1])
        flipped += int(pair["x_0"][0, 0, 0] == 3)
    assert 70 < flipped < 130


class Drawn(Ramps):
    """Draws from every generator that there is."""

    def __getitem__(self, index):
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return {**super().__getitem__(index), "drawn": drawn}


def test_what_a_data_set_draws_follows_from_the_position():
    pairs = TrainingPairs(Drawn("train"), seed=0, flip=False)
    first, other = pairs[3, 0]["drawn"], pairs[13, 0]["drawn"]
    assert pairs[3, 0]["drawn"] == first
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_only_training_flips():
    module = as_rank(PairDataModule(Ramps, batch_size=10), 0, 1)
    module.setup("validate")
    torch.manual_seed(0)
    (batch,) = module.val_dataloader()
    assert (batch["x_0"][:, 0, 0, 0] == 0).all()
