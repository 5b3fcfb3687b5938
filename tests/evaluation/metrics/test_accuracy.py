from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from published_files import assert_splits_agree, random_images, write_torchvision
from torchvision.models import ResNet50_Weights, resnet50

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.metrics import ClassifierAccuracy

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def test_accuracy_counts_what_torchvisions_own_network_recognises(checkpoints):
    write_torchvision("resnet50", checkpoints)
    network = resnet50(weights=ResNet50_Weights.IMAGENET1K_V1).eval()
    images = random_images(6, 40)
    x = (images.samples / 127.5 - 1 + 1) / 2
    x = F.interpolate(x, (224, 224), mode="bicubic", align_corners=False, antialias=False)
    with torch.no_grad():
        best = network((x - MEAN) / STD).argmax(dim=1)
    labels = torch.where(torch.arange(6) % 3 == 0, (best + 1) % 1000, best)
    images = replace(images, labels=labels)
    metric = ClassifierAccuracy()
    value = assert_splits_agree(metric, images, batch_sizes=(1, 4))
    assert value == {"accuracy_resnet50": 4 / 6}
    assert value.keys() == metric.columns.keys()


def test_accuracy_needs_labels_and_its_file(checkpoints):
    with pytest.raises(UserError, match=r"resnet50-0676ba61\.pth, which is missing: put it there"):
        ClassifierAccuracy()
    write_torchvision("resnet50", checkpoints)
    metric = ClassifierAccuracy()
    metric.reset(2)
    with pytest.raises(UserError, match="accuracy_resnet50 needs class labels"):
        metric.update(replace(random_images(2), labels=None))
