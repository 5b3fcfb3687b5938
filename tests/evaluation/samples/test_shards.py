"""Kept samples: killed, broken and resumed evaluations, batch sizes and ranks, all one stream."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import ToyNetwork

from dbim_lightning.bridge import BridgeDenoiser, DDBMPreconditioning, VPSchedule
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.images import own_blocks
from dbim_lightning.evaluation.samples.generate import Generation
from dbim_lightning.evaluation.samples.shards import SampleShards, Shard
from dbim_lightning.samplers import DBIM

COUNT = 300  # four blocks of 64 and one of 44
CONFIG = {"sampler": "dbim", "eta": 1.0, "nfe": 3, "seed": 0, "num_images": COUNT}
IMAGES = torch.rand(COUNT, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
PAIRS = [
    {"x_0": x_0, "x_T": x_T, "index": 3 * i, "name": f"{i:03}", "label": i % 7}
    for i, (x_0, x_T) in enumerate(IMAGES)
]


class Toy(ToyNetwork):
    """Takes so many seconds, and notes the size of each batch."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seconds, self.batches = seconds, []

    def forward(self, x, c_noise, x_T, y):
        time.sleep(self.seconds)
        self.batches.append(len(x))
        return super().forward(x, c_noise, x_T).to(x) + 0.01 * y.view(-1, 1, 1, 1)


def generation(folder=None, batch_size=32, rank=0, world_size=1, config=CONFIG, seconds=0.0):
    denoiser = BridgeDenoiser(Toy(seconds), VPSchedule(), DDBMPreconditioning()).eval()
    shards = folder and SampleShards(folder, config)
    sampler = DBIM(config["nfe"], eta=1)
    return Generation(
        sampler, denoiser, PAIRS, config["seed"], batch_size, rank, world_size, shards
    )


def num_sampled(generation):
    """Images, each of which takes three calls."""
    return sum(generation.denoiser.network.batches) / 3


def collected(*streams):
    """All images in order of position, each of which must come once."""
    blocks = sorted((b for s in streams for b in s), key=lambda images: images.position[0])
    positions = torch.cat([images.position for images in blocks])
    assert positions.tolist() == list(range(COUNT))
    assert torch.equal(torch.cat([images.index for images in blocks]), 3 * positions)
    assert torch.equal(torch.cat([images.labels for images in blocks]), positions % 7)
    return torch.cat([images.samples for images in blocks])


def float_sums(stream):
    """Numbers that depend on the order of summation."""
    sums = torch.zeros(2)
    for images in stream:
        error = images.samples.float().div(255) - images.targets.float().div(255)
        sums += torch.stack([error.square().sum(), error.abs().sum()])
    return sums


def within_one_level(first, second):
    return (first.int() - second.int()).abs().max() <= 1


def shards_in(folder):
    return sorted(Path(folder).glob("*/*-*.npz"))


@pytest.fixture(scope="module")
def undisturbed():
    return collected(generation())


@pytest.mark.parametrize("batch_size", [32, 128])
def test_kept_samples_are_those_that_are_not_kept(tmp_path, undisturbed, batch_size):
    first, second = (generation(tmp_path, batch_size, seconds=0.05) for _ in range(2))
    start = time.monotonic()
    assert torch.equal(collected(first), undisturbed)
    assert first.seconds <= time.monotonic() - start
    assert torch.equal(collected(second), undisturbed)
    assert (num_sampled(first), num_sampled(second)) == (COUNT, 0)
    assert (second.calls, second.seconds) == (3, pytest.approx(first.seconds))
    assert [path.name for path in shards_in(tmp_path)][::4] == [
        "0000000-0000063.npz",
        "0000256-0000299.npz",
    ]


def test_two_evaluations_at_once_share_shards(tmp_path, undisturbed):
    both = [generation(tmp_path) for _ in range(2)]
    images, streams = ([], []), [iter(each) for each in both]
    for turn in (0, 1, 1, 1, 0, 0, 0, 1, 1, 0):  # each is ahead of the other at times
        images[turn].append(next(streams[turn]))
    for found in images:
        assert torch.equal(collected(found), undisturbed)
    assert sum(map(num_sampled, both)) == COUNT


def test_a_shard_is_an_npz_file(tmp_path, undisturbed):
    list(generation(tmp_path))
    with np.load(shards_in(tmp_path)[1]) as arrays:
        assert arrays["index"].tolist() == list(range(192, 384, 3))
        assert np.array_equal(arrays["samples"], undisturbed[64:128].numpy())


def start_slow_run(folder):
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests' / 'helpers'}"}
    return subprocess.Popen([sys.executable, __file__, folder], env=environment)


def test_killed_run_goes_on_and_gives_the_same_numbers_bit_by_bit(tmp_path, undisturbed):
    process = start_slow_run(tmp_path)
    while len(shards_in(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = shards_in(tmp_path)
    before = [path.stat().st_mtime_ns for path in kept]
    assert 2 <= len(kept) < 5

    resumed = generation(tmp_path)
    assert torch.equal(float_sums(resumed), float_sums(generation()))
    assert num_sampled(resumed) == COUNT - 64 * len(kept)
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert torch.equal(collected(generation(tmp_path)), undisturbed)


def test_changed_configuration_starts_beside_the_old_one(tmp_path, undisturbed):
    list(generation(tmp_path))
    other = generation(tmp_path, config=CONFIG | {"seed": 1})
    assert not torch.equal(collected(other), undisturbed)
    assert num_sampled(other) == COUNT
    assert len(shards_in(tmp_path)) == 10
    again = generation(tmp_path, config=dict(reversed(CONFIG.items())))
    assert torch.equal(collected(again), undisturbed)
    assert num_sampled(again) == 0
    for manifest in tmp_path.glob("*/manifest.json"):
        content = json.loads(manifest.read_text())
        assert content["hash"].startswith(manifest.parent.name)
        assert content["config"]["nfe"] == 3


def break_shard(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[len(content) // 2 :]
    elif how == "emptied":
        content.clear()
    elif how == "of another configuration":
        other = SampleShards(path.parents[1] / "other", CONFIG | {"seed": 1})
        list(generation(other.folder.parent, config=CONFIG | {"seed": 1}))
        content = (other.folder / path.name).read_bytes()
    else:
        content[how] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "emptied", "of another configuration", 20, 9000, -1])
def test_broken_shard_is_sampled_again_and_said_so(tmp_path, capsys, undisturbed, how):
    list(generation(tmp_path))
    path = shards_in(tmp_path)[2]
    break_shard(path, how)
    capsys.readouterr()
    resumed = generation(tmp_path)
    assert torch.equal(collected(resumed), undisturbed)
    assert num_sampled(resumed) == 64
    told = f"{path} is broken or was sampled from other data: deleted, and sampled again\n"
    assert capsys.readouterr().out == told
    list(generation(tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("key", "value"), [("x_T", -PAIRS[70]["x_T"]), ("index", 1), ("label", 5)])
def test_shards_of_other_sources_are_not_taken(tmp_path, capsys, monkeypatch, key, value):
    list(generation(tmp_path))
    monkeypatch.setitem(PAIRS[70], key, value)
    changed = generation(tmp_path)
    samples = torch.cat([images.samples for images in changed])
    assert num_sampled(changed) == 64
    assert "0000064-0000127.npz is broken or was sampled from other data" in capsys.readouterr().out
    assert torch.equal(samples, torch.cat([images.samples for images in generation()]))


def test_shards_of_another_mask_are_not_taken(tmp_path):
    batch = {"index": torch.arange(2), "x_T": torch.zeros(2, 3, 4, 4)}
    masks = [batch | {"mask": torch.full((2, 1, 4, 4), value)} for value in (0.0, 1.0)]
    shards = SampleShards(tmp_path, CONFIG)
    shards.write(range(2), masks[0], Shard(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), 3, 0.5))
    assert shards.read(range(2), masks[0]).seconds == 0.5
    assert shards.read(range(2), masks[1]) is None


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("batch_size", [7, 64, 200])
def test_batch_size_and_ranks_change_no_image(undisturbed, batch_size, world_size):
    ranks = [generation(None, batch_size, rank, world_size) for rank in range(world_size)]
    assert within_one_level(collected(*ranks), undisturbed)
    largest = max(max(rank.denoiser.network.batches) for rank in ranks)
    assert largest == {7: 7, 64: 64, 200: 192 if world_size == 1 else 172}[batch_size]
    assert [len(rank.blocks) for rank in ranks] == {1: [5], 2: [3, 2]}[world_size]


def test_resumes_with_another_batch_size_and_number_of_ranks(tmp_path, undisturbed):
    first = iter(generation(tmp_path, batch_size=7))
    for _ in range(2):
        next(first)
    ranks = [generation(tmp_path, 64, rank, 2) for rank in range(2)]
    assert within_one_level(collected(*ranks), undisturbed)
    assert [num_sampled(rank) for rank in ranks] == [64 + 44, 64]
    last = generation(tmp_path, 200)
    assert torch.equal(collected(last), collected(generation(tmp_path, 7)))
    assert num_sampled(last) == 0


def test_large_batches_keep_their_images_when_a_part_is_missing(tmp_path, undisturbed):
    list(generation(tmp_path, 128))
    paths = shards_in(tmp_path)
    before = paths[2].stat().st_mtime_ns
    paths[3].unlink()
    resumed = generation(tmp_path, 128)
    assert torch.equal(collected(resumed), undisturbed)
    assert set(resumed.denoiser.network.batches) == {128}
    assert paths[2].stat().st_mtime_ns == before
    assert shards_in(tmp_path) == paths


def test_every_rank_has_its_part_of_few_images():
    assert [sum(map(len, own_blocks(358, rank, 2))) for rank in range(2)] == [192, 166]
    blocks = [block for rank in range(3) for block in own_blocks(358, rank, 3)]
    assert sorted(p for block in blocks for p in block) == list(range(358))
    assert own_blocks(64, 1, 2) == []


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*manifest\.json .*choose another folder"):
        SampleShards(tmp_path / "file", CONFIG)


if __name__ == "__main__":
    list(generation(sys.argv[1], seconds=0.1))
