import pytest
import timm
import torch
import torch.nn.functional as F
from published_files import random_images

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.features import DINOv2

SMALL = "vit_small_patch14_dinov2"
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def dinov2_file(tmp_path_factory):
    """Random weights as published: for 518 px, with the mask token that only training uses."""
    torch.manual_seed(0)
    state = timm.create_model(SMALL, num_classes=0).state_dict()
    state["pos_embed"] = torch.randn(1, 37 * 37 + 1, 384) * 0.02
    path = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save(state | {"mask_token": torch.zeros(1, 384)}, path)
    return path


def test_dinov2_is_the_class_token_of_timms_own_loading(dinov2_file):
    images = random_images(3, 64).samples
    network = DINOv2(dinov2_file, SMALL)
    features = network(images)
    assert (features.dtype, features.shape) == (torch.float32, (3, network.num_features))
    assert network.name == "dinov2_small"
    reference = timm.create_model(
        SMALL, pretrained=True, img_size=224, num_classes=0,
        pretrained_cfg_overlay={"file": str(dinov2_file)},
    ).eval()  # fmt: skip
    x = F.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected = reference.forward_features((x / 255 - MEAN) / STD)[:, 0]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_dinov2_stays_in_evaluation_mode(dinov2_file):
    network = DINOv2(dinov2_file, SMALL)
    torch.nn.ModuleList([network]).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_dinov2_names_the_file_that_is_missing_or_another_models(dinov2_file, tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth.*missing.*dinov2_vitl14_pretrain\.pth"):
        DINOv2(tmp_path / "absent.pth")
    with pytest.raises(UserError, match=r"cannot use the weights file .*dinov2_vits14"):
        DINOv2(dinov2_file, "vit_base_patch14_dinov2")
    with pytest.raises(UserError, match="choose one of vit_small_patch14_dinov2"):
        DINOv2(dinov2_file, "vit_huge")


def test_dinov2_loads_tensors_only(tmp_path):
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "module.pth")
    with pytest.raises(UserError, match="Weights only load failed"):
        DINOv2(tmp_path / "module.pth", SMALL)
