"""One evaluation by several processes, as torchrun starts them."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def start_processes() -> None:
    """Connects the processes that torchrun has started, if it has, and gives each an accelerator of
    its own, where there are any."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    # Sums live on the CPU; a process without images waits for the others.
    dist.init_process_group("gloo", timeout=timedelta(days=7))
    atexit.register(dist.destroy_process_group)  # or its threads may abort the exit
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]))


def rank_and_world_size() -> tuple[int, int]:
    """(0, 1) unless several processes are connected."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def broadcast(value: Value) -> Value:
    """What the first process gives, where each may have its own, such as the time."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


@contextmanager
def one_makes_it() -> Iterator[None]:
    """The first process goes through the block before the others, which find what it has made."""
    rank, world_size = rank_and_world_size()
    try:
        if rank > 0:
            dist.barrier()
        yield
    finally:
        if rank == 0 and world_size > 1:
            dist.barrier()


def all_reduce_sums(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums of all processes together."""
    if dist.is_initialized():
        for value in sums.values():
            _all_reduce(value, dist.ReduceOp.SUM)
    return sums


def all_reduce_max(value: float) -> float:
    """The largest of a number that every process has."""
    found = torch.tensor(value, dtype=torch.float64)
    if dist.is_initialized():
        _all_reduce(found, dist.ReduceOp.MAX)
    return found.item()


def _all_reduce(value: Tensor, op: dist.ReduceOp) -> None:
    """In place, on the CPU; by way of the accelerator under a trainer's NCCL."""
    gloo = dist.get_backend() == "gloo"
    moved = value if gloo else value.to(torch.accelerator.current_accelerator())
    dist.all_reduce(moved, op)
    value.copy_(moved)
