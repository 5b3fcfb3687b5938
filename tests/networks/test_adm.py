"""The ADM U-Net against the published one: keys, shapes, outputs, activations."""

import pytest
import torch
from golden_data import MANIFEST, load, unet_options

from dbim_lightning.errors import UserError
from dbim_lightning.networks import ADMUNet


@pytest.fixture(params=MANIFEST["unets"], ids=lambda u: u["id"])
def golden(request):
    network = ADMUNet(**unet_options(request.param["constructor"])).eval()
    return request.param, network, load(request.param["file"])


def test_state_dict_keys_and_shapes_are_the_published_ones(golden):
    spec, network, _ = golden
    ours = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    assert ours == spec["state_dict"]


@torch.no_grad()
def test_output_and_activations_equal_published_ones(golden, record_property):
    record_property("golden", "networks")
    spec, network, arrays = golden
    network.load_state_dict(
        {k.removeprefix("param__"): v for k, v in arrays.items() if k.startswith("param__")}
    )
    seen = {}
    for name in ("time_embed", "middle_block"):
        module = network.get_submodule(name)
        module.register_forward_hook(lambda m, args, out, name=name: seen.update({name: out}))
    out = network(arrays["x"], arrays["timesteps"], arrays["xT"], arrays.get("y"))
    atol = spec["tolerance_abs_out"]
    torch.testing.assert_close(out, arrays["out"], rtol=0, atol=atol)
    for name, activation in seen.items():
        torch.testing.assert_close(activation, arrays[f"act__{name}"], rtol=0, atol=atol)


def test_adm_tiny_starts_from_zero_and_uses_source_and_time():
    network = ADMUNet(32, [1, 2, 2], 1, [4], num_head_channels=32)
    assert 1.3e6 < sum(p.numel() for p in network.parameters()) < 1.5e6
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([-100.0, -10.0])
    assert network(x, t, x).abs().max() == 0
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    out = network(x, t, x)
    assert not torch.allclose(out, network(x, t + 50, x), atol=1e-3)
    assert not torch.allclose(out, network(x, t, -x), atol=1e-3)


def test_labels_are_demanded_by_networks_with_classes_and_else_ignored():
    options = {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1}
    options |= {"attention_resolutions": [], "num_head_channels": 32}
    x, t, y = torch.randn(2, 3, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UserError, match="needs the class labels y"):
        ADMUNet(**options, num_classes=2)(x, t, x)
    network = ADMUNet(**options)
    torch.nn.init.normal_(network.out[-1].weight)
    assert torch.equal(network(x, t, x, y), network(x, t, x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_channels": 40}, "model_channels=40"),
        ({"condition_mode": "add"}, "condition_mode='add'"),
        ({"num_head_channels": 48}, "32 channels cannot have 0 heads"),
    ],
)
def test_bad_options_are_named(options, message):
    good = {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1}
    with pytest.raises(UserError, match=message):
        ADMUNet(**(good | {"attention_resolutions": []} | options))
