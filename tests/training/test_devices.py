"""Precision follows what the device really computes in."""

import pytest
import torch

from dbim_lightning.training import device_of, trainer_precision


@pytest.fixture(params=[True, False])
def native(request, monkeypatch):
    for owner, name in (
        (torch.cpu, "_is_avx512_bf16_supported"),
        (torch.cuda, "is_bf16_supported"),
    ):
        monkeypatch.setattr(owner, name, lambda **_: request.param)
    return request.param


@pytest.mark.parametrize(("accelerator", "cuda"), [("cpu", True), ("auto", False), ("gpu", True)])
def test_bf16_only_where_native(native, monkeypatch, accelerator, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert trainer_precision(device_of(accelerator)) == ("bf16-mixed" if native else "32-true")


def test_the_accelerator_asked_for_decides(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    kinds = {name: device_of(name).type for name in ("auto", "gpu", "cuda", "cpu", "mps")}
    assert kinds == {"auto": "cuda", "gpu": "cuda", "cuda": "cuda", "cpu": "cpu", "mps": "mps"}
    assert trainer_precision(device_of("gpu")) == "bf16-mixed"
    for name in ("cpu", "mps"):
        assert trainer_precision(device_of(name)) == "32-true"
