"""The published networks of conf/network against their specification."""

import json
from pathlib import Path

import pytest
import torch
from golden_data import GOLDEN, unet_options
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

CONF = Path(__file__).parents[2] / "conf"
SPECS = json.loads((GOLDEN / "unet_full_specs.json").read_text())["configs"]
PRESETS = {"adm_e2h": "e2h", "adm_diode": "diode", "adm_imagenet": "imagenet_inpaint_center"}


@pytest.fixture(params=PRESETS)
def preset(request):
    """The name of a preset, its network without data, and what it must be."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"network={request.param}"]).network
    with torch.device("meta"):
        network = instantiate(cfg, _convert_="all")
    return request.param, cfg, network, SPECS[PRESETS[request.param]]


def test_keys_shapes_order_and_counts_are_the_published_ones(preset):
    _, _, network, spec = preset
    ours = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    assert ours == spec["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == spec["n_parameters"]


def test_options_without_parameters_are_the_published_ones(preset):
    _, cfg, network, spec = preset
    published = unet_options(spec["constructor"])
    options = {key: value for key, value in cfg.items() if key != "_target_"}
    assert options == {key: published[key] for key in options}
    heads = {
        name: [module.num_channels, network.get_submodule(name.removesuffix(".norm")).num_heads]
        for name, module in network.named_modules()
        if name.endswith(".norm")
    }
    expected = spec["attention_blocks_name_channels_heads"]
    assert heads == {f"{name}.norm": [channels, number] for name, channels, number in expected}


def test_first_line_states_the_parameters(preset):
    name, _, _, spec = preset
    comment = (CONF / "network" / f"{name}.yaml").read_text().splitlines()[0]
    assert f"{spec['n_parameters'] / 1e6:.2f} M parameters" in comment
