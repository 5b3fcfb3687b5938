"""Peak memory on this machine: python -m benchmarks.memory.

Of a training step of batch 1 in float32 of every preset at the resolution that it is made for
(weights, gradients, AdamW's two moments, EMA and activations; two steps), and of importing and
exporting the largest published weights, from a file of random numbers in DDBM's form. Each runs
as its own program; its libraries, which take a part too, are counted.
"""

import copy
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.presets import NETWORKS, preset

LARGEST = "adm_diode"


def resolution(name: str) -> int:
    """As the first line of the preset's YAML says."""
    return int(re.search(r"(\d+)x\1", (NETWORKS / f"{name}.yaml").read_text()).group(1))


def train(name: str, use_checkpoint: bool) -> None:
    """Two steps of batch 1."""
    network, size = preset(name), resolution(name)
    network.use_checkpoint = use_checkpoint
    ema, optimizer = copy.deepcopy(network), torch.optim.AdamW(network.parameters())
    labels = () if network.label_emb is None else (torch.tensor([0]),)
    x = torch.randn(1, 3, size, size)
    for _ in range(2):
        network(x, torch.tensor([-7.0]), x, *labels).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1e-4)


def write_ddbm_file(path: str) -> None:
    """Random weights of the largest preset as DDBM stores them."""
    state = preset(LARGEST).state_dict()
    attention = ("qkv.weight", "proj_out.weight")
    torch.save({k: v[..., None] if k.endswith(attention) else v for k, v in state.items()}, path)


def peak(*command: str) -> float:
    """GB that a Python program takes at most; a small program starts it and asks."""
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    program = [sys.executable, "-c", code, sys.executable, *command]
    out = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(out) * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    for path in sorted(NETWORKS.glob("*.yaml")):
        code = f"from benchmarks.memory import train; train({path.stem!r}, %s)"
        all_kept, recomputed = (peak("-c", code % flag) for flag in (False, True))
        print(f"a training step of {path.stem}: {all_kept:.1f} GB, ", end="")
        print(f"with use_checkpoint {recomputed:.1f} GB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source, imported = Path(folder) / "weights.pt", str(Path(folder) / "imported.safetensors")
        code = f"from benchmarks.memory import write_ddbm_file as f; f({str(source)!r})"
        peak("-c", code)
        size = source.stat().st_size / 1e9
        options = ["--network", LARGEST, "--schedule", "vp", "-o", imported]
        memory = peak("-m", "dbim_lightning.weights", "import", str(source), *options)
        print(f"importing {size:.2f} GB: {memory:.2f} GB, {memory / size:.2f} times its size")
        source.unlink()
        exported = str(Path(folder) / "exported.safetensors")
        memory = peak("-m", "dbim_lightning.weights", "export", imported, "-o", exported)
        print(f"exporting it: {memory:.2f} GB, {memory / size:.2f} times its size")


if __name__ == "__main__":
    main()
