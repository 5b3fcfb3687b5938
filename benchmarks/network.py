"""How fast the networks are: python -m benchmarks.network.

Times the forward pass of adm_e2h (one image of 64x64) and of adm_small (4 of them) beside a plain
version of the same network: contiguous, in float32, attention written out with softmax. All ways
take turns; medians. Then where the time of ours goes, and what the machine can reach.
"""

import copy
import math
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.presets import preset
from dbim_lightning.networks.blocks import AttentionBlock

CASES = {"adm_e2h": (1, 64, 9), "adm_small": (4, 64, 21)}
Run = Callable[[], Tensor]


class PlainAttention(AttentionBlock):
    """The same attention, with the whole matrix of weights."""

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x).flatten(2))
        parts = (3, self.num_heads) if self.new_order else (self.num_heads, 3)
        q, k, v = qkv.unflatten(1, (*parts, -1)).unbind(1 if self.new_order else 2)
        weights = (q.transpose(-1, -2) @ k / math.sqrt(q.shape[-2])).softmax(dim=-1)
        return x + self.proj_out((v @ weights.transpose(-1, -2)).flatten(1, 2)).view_as(x)


def plain(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, AttentionBlock):
            module.__class__ = PlainAttention
    return network


def ways(network: nn.Module, images: int, size: int) -> dict[str, Run]:
    """The ways to run a network; plain first, then ours."""
    x, x_T = torch.randn(2, images, 3, size, size)
    t = torch.linspace(-1700, -1, images)
    written_out = plain(network)
    compiled = torch.compile(copy.deepcopy(network), fullgraph=True)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)

    def bfloat16(run: Callable) -> Run:
        def inner() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return run(x, t, x_T)

        return inner

    runs = {
        "plain": lambda: written_out(x, t, x_T),
        "ours": lambda: network(x, t, x_T),
        "channels_last": lambda: last(x.to(memory_format=torch.channels_last), t, x_T),
        "compiled": lambda: compiled(x, t, x_T),
    }
    if torch.cpu._is_avx512_bf16_supported():
        runs |= {"bfloat16": bfloat16(network), "bfloat16, compiled": bfloat16(compiled)}
    return runs


def medians(runs: dict[str, Run], repeats: int) -> dict[str, float]:
    """Seconds of each way, which take turns, after one round to warm up."""
    seconds = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def shares(run: Run) -> dict[str, float]:
    """Fractions of CPU time by kind of operation."""
    kinds = {"convolution": "convol", "attention": "attention", "norm": "norm", "linear": "addmm"}
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    found = {
        kind: sum(event.self_cpu_time_total for event in events if part in event.key) / total
        for kind, part in kinds.items()
    }
    return found | {"rest": 1 - sum(found.values())}


def reachable_flops() -> float:
    """FLOP/s of a large float32 matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / medians({"product": lambda: a @ a}, 9)["product"]


@torch.inference_mode()
def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads\n")
    print("| network | way | ms | of plain | largest difference |\n|---|---|---:|---:|---:|")
    for name, (images, size, repeats) in CASES.items():
        torch.manual_seed(0)
        network = preset(name).eval()
        runs = ways(network, images, size)
        expected = runs["plain"]()
        seconds = medians(runs, repeats)
        for way, run in runs.items():
            ratio, error = seconds[way] / seconds["plain"], (run() - expected).abs().max()
            print(f"| {name} | {way} | {1000 * seconds[way]:.1f} | {ratio:.2f} | {error:.1e} |")
        with FlopCounterMode(display=False) as counter:
            runs["ours"]()
        flops, share = counter.get_total_flops(), shares(runs["ours"])
        print(f"\n{name}: " + ", ".join(f"{kind} {part:.0%}" for kind, part in share.items()))
        floor = flops / reachable_flops()
        print(
            f"{flops / 1e9:.1f} GFLOP, which a matrix product does in {1000 * floor:.1f} ms: "
            f"no float32 version is below {floor / seconds['plain']:.2f} of plain\n"
        )


if __name__ == "__main__":
    main()
