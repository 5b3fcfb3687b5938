"""Samples that are kept, one file per block of images, so that a killed evaluation goes on."""

import hashlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dbim_lightning.archives import UNREADABLE, array, opened_arrays
from dbim_lightning.data.pair import Pair
from dbim_lightning.files import write_json, write_whole
from dbim_lightning.pictures import to_uint8

FORMAT = 1
_DIGEST_BYTES = 32


class Shard(NamedTuple):
    """The samples of one block (B, 3, H, W) uint8, and what they cost.

    calls: of the network, in each batch.
    seconds: of sampling.
    """

    samples: torch.Tensor
    calls: int
    seconds: float


class SampleShards:
    """The shards of one configuration, in a folder of their own that is named by its hash.

    A shard is an .npz file of index, samples, calls and seconds, named by its positions. Behind it
    stand 32 bytes, which `np.load` ignores: the SHA-256 of configuration, sources (with labels and
    masks) and file.

    Args:
        folder: of the shards of all configurations.
        config: all that the samples depend on, in JSON's types; `manifest.json` holds it.

    Attributes:
        hash: of the configuration and the format of the shards.
        folder: of this configuration alone.

    Raises:
        UserError: a folder that cannot be written, also by `write`.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any]):
        config = {"format": FORMAT, **config}
        self.hash = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
        self.folder = Path(folder) / self.hash[:16]
        manifest = {"hash": self.hash, "config": config}
        write_json(self.folder / "manifest.json", manifest, indent=1)

    def read(self, block: range, pairs: Pair) -> Shard | None:
        """The shard of these positions, or None. One that is broken is deleted, and told of.

        Args:
            block: consecutive positions.
            pairs: the batch of data there; a shard that was sampled from other sources is deleted
                like a broken one.
        """
        path = self._path(block)
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # also where another evaluation has just deleted it
            return None
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if digest == self._digest(body, pairs):
            with suppress(*UNREADABLE), opened_arrays(io.BytesIO(body)) as arrays:
                samples = array(arrays, "samples", tuple(pairs["x_T"].shape), np.uint8)
                calls, seconds = (arrays[name].item() for name in ("calls", "seconds"))
                return Shard(torch.from_numpy(samples), calls, seconds)
        path.unlink(missing_ok=True)
        print(f"{path} is broken or was sampled from other data: deleted, and sampled again")
        return None

    def write(self, block: range, pairs: Pair, shard: Shard) -> None:
        """Keeps the samples of these positions; there is never half a shard under its name."""
        file = io.BytesIO()
        np.savez(
            file,
            index=pairs["index"].numpy(),
            samples=shard.samples.numpy(),
            calls=shard.calls,
            seconds=shard.seconds,
        )
        body = file.getvalue()
        write_whole(self._path(block), body + self._digest(body, pairs))

    def _path(self, block: range) -> Path:
        return self.folder / f"{block.start:07}-{block.stop - 1:07}.npz"

    def _digest(self, body: bytes, pairs: Pair) -> bytes:
        digest = hashlib.sha256(self.hash.encode())
        given = (pairs["index"], to_uint8(pairs["x_T"]), pairs.get("label"), pairs.get("mask"))
        for part in given:
            digest.update(b"" if part is None else part.numpy().tobytes())
        digest.update(body)
        return digest.digest()
