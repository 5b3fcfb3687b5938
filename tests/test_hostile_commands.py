"""Commands that are given broken or hostile files: one line, no code, nothing left behind."""

import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from archive_server import tar_bytes
from hostile_files import Bomb, hostile_arrays, huge_png, naming, npy, zip_bomb
from picture_files import as_strips, some_pairs
from refusals import import_late, require_refused, table

from dbim_lightning.data import PairedFolder
from dbim_lightning.data.packed import pack
from dbim_lightning.files import write_json

CALL = "{_target_: os.mkdir, path: made}"
DBIM = "_target_: dbim_lightning.samplers.DBIM\n"
SAMPLERS = {
    "call": "_target_: os.mkdir\npath: made\n",
    "hydra": f"{DBIM}hydra: {{callbacks: {{a: {CALL}}}}}\n",
    "grid": f"{DBIM}grid: {{_target_: subprocess.Popen, args: [touch, made]}}\n",
    "tag": f"{DBIM}note: !!python/object/apply:os.mkdir [made]\n",
    "environment": f"{DBIM}note: ${{oc.env:HOME}}\n",
    "deep": f"{DBIM}note: {'[' * 5000}{']' * 5000}\n",
}


TRIALS = {
    "text": "no journal\n",
    "odd": '{"op_code": 99, "worker_id": "x"}\n',
    "study": '{"op_code": 0, "worker_id": "x", "study_name": 3, "directions": "x"}\n',
    "list": "[1]\n",
}


def nested(depth: int) -> bytes:
    content = tar_bytes({"train/n02119789/n02119789_1.JPEG": b"1"}, "")
    for _ in range(depth):
        content = tar_bytes({"in.tar": content}, "")
    return content


def write_checkpoints(folder: Path, trained: Path) -> None:
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    call = {"_target_": "os.mkdir", "path": "made"}
    for suffix in ("ckpt", "safetensors"):
        naming(content, folder / f"call.{suffix}", "training.optimizer", call)
    naming(content, folder / "sampler.safetensors", "samplers", {"5": call})
    naming(content, folder / "dataset.safetensors", "dataset", "x")
    download = {"_target_": "dbim_lightning.load_sampler", "path": "hf://a/b", "nfe": 5}
    naming(content, folder / "download.ckpt", "sampler", download)
    naming(content, folder / "wide.safetensors", "denoiser.network.model_channels", 1 << 20)
    torch.save(content | {"note": Bomb()}, folder / "zip.ckpt")
    (folder / "pickle.ckpt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 10 << 30) + b"{}")


def write_arrays(folder: Path) -> None:
    list(hostile_arrays(folder))
    with zipfile.ZipFile(folder / "short.npz", "w") as archive:
        archive.writestr("arr_0.npy", npy("|u1", (2, 32, 32, 3)) + b"short")
    zip_bomb(folder / "bomb.npz", "arr_0.npy")
    shutil.copy(folder / "bomb.npz", folder / "bomb.ckpt")
    shutil.copy(folder / "bomb.npz", folder / "data_list.zip")


def write_data(folder: Path) -> None:
    for name in ("broken", "large", "good"):
        as_strips(folder / name, some_pairs(40, 32, 32))
    for path in (folder / "broken").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:200])
    for path in (folder / "large").rglob("*.png"):
        huge_png(path)
    for pair in PairedFolder("test", folder / "good", 32):
        path = folder / "drawn" / f"{pair['name']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        huge_png(path)
    (folder / "nul.csv").write_text("source,target\n\0,b.png\n")
    for name in ("packed", "made"):
        pack(PairedFolder("train", folder / "good", 32), folder / name / "train")
    packed = folder / "packed" / "train" / "pairs.json"
    write_json(packed, json.loads(packed.read_text()) | {"image_size": 60_000})
    made_from = {"options": {"a": "${oc.env:HOME}"}, "files": {}}
    write_json(folder / "made" / "train" / "made_from.json", made_from)


@pytest.fixture(scope="module")
def places(tmp_path_factory, trained) -> dict[str, Path]:
    """Files and folders by the names that the table has for them."""
    import_late()
    folder = tmp_path_factory.mktemp("hostile")
    write_checkpoints(folder, trained)
    write_arrays(folder)
    write_data(folder)
    for name, text in SAMPLERS.items():
        (folder / f"{name}.yaml").write_text(text)
    for name, content in TRIALS.items():
        (folder / name).mkdir()
        (folder / name / "trials.log").write_text(content)
    (folder / "rows").mkdir()
    write_json(folder / "rows" / "results.json", {"format": 2, "metrics": 3})
    (folder / "edges2handbags.tar.gz").write_bytes(tar_bytes({"../x": b"2"}))
    (folder / "short.tar").write_bytes(nested(1)[:3000])
    (folder / "nested.tar").write_bytes(nested(200))
    return {
        "HOSTILE": folder,
        "PAIRS": folder / "good",
        "CLASSES": folder / "good",
        "CHECKPOINT": trained / "checkpoints" / "last.ckpt",
    }


TABLE = table("hostile_input.txt")


@pytest.mark.parametrize(("words", "part"), TABLE, ids=[words for words, _ in TABLE])
def test_hostile_files_end_with_one_line_and_leave_nothing(words, part, places, tmp_path):
    before = set(places["HOSTILE"].rglob("*"))
    require_refused(words, part, places, tmp_path / "empty")
    assert set(places["HOSTILE"].rglob("*")) == before
