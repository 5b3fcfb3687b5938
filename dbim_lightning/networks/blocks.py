"""Building blocks of the ADM U-Net (Dhariwal & Nichol 2021), with the published parameter names."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def norm(channels: int) -> nn.GroupNorm:
    """32 groups; torch computes it in float32 also where autocast hands it 16-bit input."""
    return nn.GroupNorm(32, channels)


def zeroed(module: M) -> M:
    """Sets all parameters to zero, so that a residual branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_embedding(c_noise: Tensor, channels: int) -> Tensor:
    """[cos, sin](c_noise 10000^(-i / half)) for i < half: (B,) -> (B, channels) float32."""
    half = channels // 2
    i = torch.arange(half, dtype=torch.float32, device=c_noise.device)
    args = c_noise.float()[:, None] * torch.exp(-math.log(10000) * i / half)
    return torch.cat([args.cos(), args.sin()], dim=1)


class Downsample(nn.Module):
    """Halves the resolution: a strided convolution, or average pooling without parameters."""

    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.op = conv if use_conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Doubles the resolution by nearest neighbours, with a convolution after it if asked."""

    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if use_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class ResBlock(nn.Module):
    """norm, SiLU, [resample], conv, embedding, norm, SiLU, dropout, conv, + [resampled] input.

    Args:
        channels, out_channels: of input and output.
        emb_channels: of the time (and class) embedding.
        resample: applied to both branches, or None.
        use_scale_shift_norm: the embedding scales and shifts the second norm; else it is added.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        emb_channels: int,
        dropout: float,
        use_scale_shift_norm: bool,
        resample: nn.Module | None = None,
    ):
        super().__init__()
        self.use_scale_shift_norm = use_scale_shift_norm
        self.resample = resample or nn.Identity()
        self.in_layers = nn.Sequential(
            norm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        emb_out = 2 * out_channels if use_scale_shift_norm else out_channels
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, emb_out))
        self.out_layers = nn.Sequential(
            norm(out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm_in, act_in, conv_in = self.in_layers
        norm_out, *rest = self.out_layers
        h = conv_in(self.resample(act_in(norm_in(x))))
        emb = self.emb_layers(emb).to(h.dtype)[:, :, None, None]
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = norm_out(h) * (1 + scale) + shift
        else:
            h = norm_out(h + emb)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class AttentionBlock(nn.Module):
    """Self-attention over pixels, added to its input.

    Args:
        num_heads: channels are divided among them.
        new_order: output channels of `qkv` are [q | k | v], each over all heads; otherwise each
            head holds its own [q | k | v].
    """

    def __init__(self, channels: int, num_heads: int, new_order: bool):
        super().__init__()
        self.num_heads, self.new_order = num_heads, new_order
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(pixels, self.qkv.weight.squeeze(-1), self.qkv.bias)
        if self.new_order:
            q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).transpose(1, 3).unbind(2)
        else:
            q, k, v = qkv.unflatten(-1, (self.num_heads, 3, -1)).transpose(1, 2).unbind(3)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = F.linear(h, self.proj_out.weight.squeeze(-1), self.proj_out.bias)
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])
