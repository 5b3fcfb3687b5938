"""The words of the command."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from bridge_files import write_bridge
from commands import ROOT, run

from dbim_lightning.app.__main__ import DEFAULTS, parsed
from dbim_lightning.errors import UserError


def test_without_words_it_is_for_this_machine_alone():
    assert parsed([]) == DEFAULTS
    assert DEFAULTS["host"] == "127.0.0.1"


def test_words_are_converted():
    words = ["weights=runs/a=b.ckpt", "port=80", "image_size=64", "trusted=[geometric,discs]"]
    assert parsed(words) == DEFAULTS | {
        "weights": "runs/a=b.ckpt",
        "port": 80,
        "image_size": 64,
        "trusted": ["geometric", "discs"],
    }


def test_modules_may_be_none_and_have_spaces():
    assert parsed(["trusted=[]"])["trusted"] == []
    assert parsed(["trusted=[a, b]"])["trusted"] == ["a", "b"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prot=80", "there is no key prot: the nearest are port"),
        ("port=80000", "port=80000: give a whole number, from 1 to 65535"),
        ("port", "port=: give a whole number"),
        ("image_size=0", "image_size=0"),
    ],
)
def test_other_words_are_refused(word, message):
    with pytest.raises(UserError, match=message):
        parsed([word])


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("gradio")
    printed = run("-m", "dbim_lightning.app", f"weights={tmp_path}/no.ckpt", status=1)
    assert printed.splitlines()[-1].startswith(f"error: no checkpoint at {tmp_path}/no.ckpt")
    assert "Traceback" not in printed


def test_behind_a_proxy_it_serves_and_sigterm_takes_its_folder_away(tmp_path):
    pytest.importorskip("gradio")
    (tmp_path / "temporary").mkdir()
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")  # where nobody is
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bridge = write_bridge(tmp_path / "bridge.safetensors")
    served = subprocess.Popen(
        [sys.executable, "-m", "dbim_lightning.app", f"weights={bridge}", f"port={port}"],
        cwd=ROOT,
        env=os.environ | proxy | {"TMPDIR": str(tmp_path / "temporary")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert any(f"http://127.0.0.1:{port}" in line for line in served.stdout)
    assert any((tmp_path / "temporary").glob("dbim_lightning_app_*"))
    served.terminate()
    served.communicate(timeout=30)
    assert served.returncode == 128 + signal.SIGTERM
    assert not any((tmp_path / "temporary").glob("dbim_lightning_app_*"))
