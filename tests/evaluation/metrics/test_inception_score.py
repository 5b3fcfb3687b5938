import numpy as np
import pytest
from published_files import (
    assert_splits_agree,
    part,
    random_images,
    write_pytorch_fid,
    write_torchscript,
)

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import Inception
from dbim_lightning.evaluation.metrics import FeatureDistance, InceptionScore, inception_score
from dbim_lightning.evaluation.references.statistics import make_reference


def test_inception_score_is_the_formula_over_consecutive_splits(checkpoints, monkeypatch):
    monkeypatch.setattr(inception_score, "_SPLIT_SIZE", 8)
    write_torchscript(checkpoints)
    network, images = Inception("legacy_tensorflow"), random_images(20)
    metric = InceptionScore(network)
    value = assert_splits_agree(metric, images)
    p = network.network.base(images.samples.float()).double().numpy()
    p = p[images.position.argsort()]
    splits = []
    for split in (p[:8], p[8:16], p[16:]):
        divergence = split * (np.log(split) - np.log(split.mean(axis=0, keepdims=True)))
        splits.append(np.exp(divergence.sum(axis=1).mean()))
    assert min(splits) > 1.01
    assert value == {"is_inception_legacy_tensorflow": pytest.approx(np.mean(splits), rel=1e-6)}
    assert value.keys() == metric.columns.keys()
    metric.reset(5000)
    assert metric.sums()["p"].shape == (625, 1008)


def test_fid_and_inception_score_run_the_network_once(checkpoints):
    write_torchscript(checkpoints)
    images, calls = random_images(8), []
    first, second = Inception("clean"), Inception("clean")
    reference = make_reference([images.targets], 8, first, "cpu")
    for network in (first, second):
        network.register_forward_hook(lambda *_: calls.append(1))
    metrics = [FeatureDistance(first), InceptionScore(second)]
    for metric in metrics:
        metric.compare_with(lambda network: reference)
        metric.reset(8)
    for batch in (part(images, slice(4)), part(images, slice(4, 8))):
        for metric in metrics:
            metric.update(batch)
    assert len(calls) == 2


def test_pytorch_fid_has_no_class_outputs(checkpoints):
    write_pytorch_fid(checkpoints)
    with pytest.raises(UserError, match="legacy_pytorch lacks"):
        InceptionScore(Inception("legacy_pytorch"))
