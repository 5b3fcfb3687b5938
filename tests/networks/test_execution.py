"""Ways of running the network that must not change what it computes."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dbim_lightning.networks import ADMUNet

OPTIONS = {"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1}
OPTIONS |= {"attention_resolutions": [1, 2], "num_head_channels": 32}


def small(**options) -> ADMUNet:
    """A small network without zero weights."""
    torch.manual_seed(0)
    network = ADMUNet(**OPTIONS, **options)
    for parameter in network.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.05)
    return network


def inputs(network: ADMUNet) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x, x_T = torch.randn(2, 2, 3, 16, 16, generator=generator)
    labels = () if network.label_emb is None else (torch.tensor([1, 3]),)
    return x, torch.tensor([-700.0, -3.0]), x_T, *labels


def training_step(network: ADMUNet) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """Loss, gradients, and the bytes of activations that the forward pass keeps."""
    kept = {}
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = network(*inputs(network)).square().mean()
    size = sum(kept.values())
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters()], size


def test_checkpointing_keeps_less_and_gives_the_same_gradients():
    loss, gradients, kept = training_step(small())
    loss_again, gradients_again, kept_again = training_step(small(use_checkpoint=True))
    assert loss_again == loss
    torch.testing.assert_close(gradients_again, gradients)
    assert kept_again < 0.25 * kept


def test_checkpointing_recomputes_only_where_gradients_are_wanted():
    network, calls = small(use_checkpoint=True), []
    network.middle_block[0].register_forward_pre_hook(lambda *args: calls.append(1))
    network(*inputs(network)).sum().backward()
    assert len(calls) == 2
    network.eval()(*inputs(network)).sum().backward()
    assert len(calls) == 3


@pytest.mark.parametrize("num_classes", [None, 4])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(num_classes, training):
    torch._dynamo.reset()
    network = small(num_classes=num_classes, use_checkpoint=bool(num_classes)).train(training)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.set_grad_enabled(training):
        expected, out = network(*inputs(network)), compiled(*inputs(network))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    if training:
        parameters = list(network.parameters())
        gradients = [torch.autograd.grad(y.square().mean(), parameters) for y in (out, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_channels_last_gives_the_same_output():
    network = small().eval()
    x, t, x_T = inputs(network)
    with torch.no_grad():
        expected = network(x, t, x_T)
        x, x_T = (image.to(memory_format=torch.channels_last) for image in (x, x_T))
        out = network.to(memory_format=torch.channels_last)(x, t, x_T)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_output_has_the_dtype_of_the_state(dtype):
    network = small().eval()
    x, t, x_T = inputs(network)
    with torch.no_grad():
        assert network(x.to(dtype), t, x_T).dtype == dtype
        assert network.to(torch.bfloat16)(x.to(dtype), t, x_T).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_norms_and_the_time_embedding_in_float32(dtype):
    """A norm in 16 bits would lose an input with a large mean, or overflow on its squares."""
    network, seen = small().eval(), {}
    embed = network.time_embed
    watched = [m for m in network.modules() if isinstance(m, nn.GroupNorm) or m is embed]
    handles = [
        module.register_forward_hook(lambda m, given, out: seen.update({m: (given[0], out)}))
        for module in watched
    ]
    x, t, x_T = inputs(network)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        network(300 + x, t, 300 + x_T)
    for handle in handles:
        handle.remove()
    assert list(seen) == watched
    assert seen[embed][1].dtype == torch.float32
    for module, (given, out) in seen.items():
        exact = module.double()(given.double()).float()
        torch.testing.assert_close(out.float(), exact, rtol=torch.finfo(out.dtype).eps, atol=1e-4)


@pytest.mark.slow
def test_the_network_for_edges2handbags_learns_from_one_image():
    """One forward and backward pass at its real size; every weight gets a finite gradient."""
    network = instantiate(OmegaConf.load("conf/network/adm_e2h.yaml"))
    x, x_T = torch.randn(2, 1, 3, 64, 64)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    out = network(x, torch.tensor([-500.0]), x_T)
    assert out.shape == x.shape
    out.square().mean().backward()
    norms = torch.stack([parameter.grad.norm() for parameter in network.parameters()])
    assert norms.isfinite().all()
    assert (norms > 0).all()
