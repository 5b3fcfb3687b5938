"""Precision follows what the device really computes in."""

import pytest
import torch

from dbim_lightning.training import trainer_precision


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
    assert trainer_precision(accelerator) == ("bf16-mixed" if native else "32-true")


def test_the_accelerator_asked_for_decides(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert trainer_precision("auto") == trainer_precision("gpu") == "bf16-mixed"
    assert trainer_precision("cpu") == trainer_precision("mps") == "32-true"
