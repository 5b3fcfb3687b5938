"""The ADM U-Net of DDBM and DBIM: F(x, c_noise, x_T, y), with the published state-dict keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dbim_lightning.errors import UserError
from dbim_lightning.networks.blocks import (
    AttentionBlock,
    Downsample,
    ResBlock,
    Upsample,
    norm,
    timestep_embedding,
    zeroed,
)


class Stage(nn.ModuleList):
    """Layers in a row, of which only residual blocks take the embedding.

    With `recompute`, blocks keep only their inputs for the backward pass.
    """

    def forward(self, h: Tensor, emb: Tensor, recompute: bool) -> Tensor:
        for layer in self:
            inputs = (h, emb) if isinstance(layer, ResBlock) else (h,)
            if recompute and isinstance(layer, ResBlock | AttentionBlock):
                h = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                h = layer(*inputs)
        return h


@dataclass(frozen=True)
class _Builder:
    """The options that blocks have in common."""

    emb_channels: int
    dropout: float
    attention_resolutions: Sequence[int]
    num_head_channels: int
    use_scale_shift_norm: bool
    resblock_updown: bool
    use_new_attention_order: bool

    def res(self, channels: int, out: int, resample: nn.Module | None = None) -> ResBlock:
        return ResBlock(
            channels, out, self.emb_channels, self.dropout, self.use_scale_shift_norm, resample
        )

    def attention(self, channels: int, num_heads: int) -> AttentionBlock:
        if self.num_head_channels != -1:
            num_heads = channels // self.num_head_channels if self.num_head_channels else 0
        if num_heads < 1 or channels % num_heads:
            raise UserError(
                f"attention over {channels} channels cannot have {num_heads} heads: "
                "change num_heads or num_head_channels of the network"
            )
        return AttentionBlock(channels, num_heads, self.use_new_attention_order)

    def attend(self, level: int, channels: int, num_heads: int) -> list[nn.Module]:
        wanted = 2**level in self.attention_resolutions
        return [self.attention(channels, num_heads)] if wanted else []

    def resample(self, kind: type[Downsample] | type[Upsample], channels: int) -> nn.Module:
        if self.resblock_updown:
            return self.res(channels, channels, kind(channels, use_conv=False))
        return kind(channels, use_conv=True)


class ADMUNet(nn.Module):
    """The ablated diffusion model U-Net, conditioned on time, source image and optionally class.

    Args:
        model_channels: channels at full resolution, a multiple of 32.
        channel_mult: multipliers of it, one per resolution, each half of the one before.
        num_res_blocks: residual blocks per resolution.
        attention_resolutions: down-sampling factors (1, 2, 4, ...) at which attention is used.
        num_heads, num_head_channels: heads per attention, or their width, which decides unless -1.
        num_heads_upsample: heads on the way up; -1 means `num_heads`.
        num_classes: of labels y (B,) int64, which must then be given; None without labels.
        use_scale_shift_norm, resblock_updown, use_new_attention_order: as published.
        condition_mode: "concat" joins x_T to x on channels; None ignores x_T.
        use_checkpoint: in training, compute blocks again on the way back rather than keep their
            activations, which takes less memory and more time.

    Attributes:
        divisor: of the height and width of images.
    """

    def __init__(
        self,
        model_channels: int,
        channel_mult: Sequence[int],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        in_channels: int = 3,
        out_channels: int = 3,
        dropout: float = 0.0,
        num_classes: int | None = None,
        num_heads: int = 4,
        num_head_channels: int = 64,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = True,
        resblock_updown: bool = True,
        use_new_attention_order: bool = True,
        condition_mode: Literal["concat"] | None = "concat",
        use_checkpoint: bool = False,
    ):
        super().__init__()
        if condition_mode not in ("concat", None):
            raise UserError(f"network with condition_mode={condition_mode!r}: use 'concat' or null")
        if not 32 <= model_channels <= 4096 or model_channels % 32:
            raise UserError(
                f"network with model_channels={model_channels}: use a multiple of 32, up to 4096"
            )
        if min(num_heads, abs(num_heads_upsample)) < 1 or num_heads_upsample < -1:
            raise UserError(f"network with {num_heads=}, {num_heads_upsample=}: use 1 or more")
        if min(in_channels, out_channels) < 1:
            raise UserError(
                f"network with {in_channels=}, {out_channels=}: use 1 or more, such as 3"
            )
        if num_classes is not None and num_classes < 1:
            raise UserError(f"network with {num_classes=}: use 1 or more, or null without labels")
        is_sized = channel_mult and min(channel_mult) >= 1 and max(channel_mult) <= 100
        if not (is_sized and 0 <= num_res_blocks <= 100):
            raise UserError(
                f"network with channel_mult={list(channel_mult)}, num_res_blocks={num_res_blocks}: "
                "use whole numbers from 1 to 100, or no blocks"
            )
        factors = [2**level for level in range(len(channel_mult))]
        if not set(attention_resolutions) <= set(factors):
            raise UserError(
                f"network with attention_resolutions={list(attention_resolutions)}: these are "
                f"down-sampling factors, of which it has {factors}"
            )
        if not 0 <= dropout < 1:
            raise UserError(f"network with dropout={dropout}: use a value in [0, 1)")
        self.condition_mode = condition_mode
        self.model_channels, self.num_classes = model_channels, num_classes
        self.in_channels, self.out_channels = in_channels, out_channels
        self.use_checkpoint = use_checkpoint
        self.divisor = 2 ** (len(channel_mult) - 1)
        widths = [mult * model_channels for mult in channel_mult]
        emb_channels = 4 * model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, emb_channels),
            nn.SiLU(),
            nn.Linear(emb_channels, emb_channels),
        )
        self.label_emb = (
            nn.Embedding(num_classes, emb_channels) if num_classes is not None else None
        )
        build = _Builder(
            emb_channels,
            dropout,
            attention_resolutions,
            num_head_channels,
            use_scale_shift_norm,
            resblock_updown,
            use_new_attention_order,
        )
        images = 2 if condition_mode == "concat" else 1
        stem = nn.Conv2d(images * in_channels, widths[0], 3, padding=1)
        self.input_blocks, skips = _encoder(build, stem, widths, num_res_blocks, num_heads)
        self.middle_block = Stage(
            [
                build.res(widths[-1], widths[-1]),
                build.attention(widths[-1], num_heads),
                build.res(widths[-1], widths[-1]),
            ]
        )
        heads_up = num_heads if num_heads_upsample == -1 else num_heads_upsample
        self.output_blocks = _decoder(build, skips, widths, num_res_blocks, heads_up)
        self.out = nn.Sequential(
            norm(widths[0]),
            nn.SiLU(),
            zeroed(nn.Conv2d(widths[0], out_channels, 3, padding=1)),
        )

    def require_size(self, height: int, width: int) -> None:
        """Refuses images that cannot be halved as often as the network does.

        Raises:
            UserError: as said.
        """
        if height % self.divisor or width % self.divisor:
            near = max(width // self.divisor, 1) * self.divisor
            raise UserError(
                f"this network takes images whose sides are multiples of {self.divisor}, such as "
                f"{near} or {near + self.divisor}, not {width}x{height}"
            )

    def _require_labels(self, y: Tensor | None, num_classes: int) -> None:
        if y is None:
            raise UserError("a network with num_classes needs the class labels y of the images")
        is_read_at_once = y.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_read_at_once and (y.min() < 0 or y.max() >= num_classes):
            raise UserError(
                f"class labels from {y.min()} to {y.max()}: this network has num_classes="
                f"{num_classes}, the first being 0"
            )

    def forward(self, x: Tensor, c_noise: Tensor, x_T: Tensor, y: Tensor | None = None) -> Tensor:
        """Runs F in the dtype of the parameters and returns x's dtype.

        Args:
            x: scaled state c_in x_t, (B, C, H, W); H, W multiples of `divisor`.
            c_noise: time code (B,).
            x_T: source (B, C, H, W).
            y: class labels (B,), for a network with classes; others ignore them.
        """
        self.require_size(*x.shape[2:])
        if x.shape[1] != self.in_channels:
            raise UserError(
                f"a network with in_channels={self.in_channels} got images of {x.shape[1]} channels"
            )
        if self.condition_mode == "concat" and x_T.shape != x.shape:
            raise UserError(
                f"x_T of {tuple(x_T.shape)} for x of {tuple(x.shape)}: give equal shapes"
            )
        if self.num_classes is not None:
            self._require_labels(y, self.num_classes)
        dtype = self.out[-1].get_parameter("weight").dtype
        with torch.autocast(x.device.type, enabled=False):
            emb = self.time_embed(timestep_embedding(c_noise, self.model_channels).to(dtype))
        if self.label_emb is not None:
            emb = emb + self.label_emb(y)
        h = torch.cat([x, x_T], dim=1) if self.condition_mode == "concat" else x
        h = h.to(dtype)
        recompute = self.use_checkpoint and self.training and torch.is_grad_enabled()
        skips = []
        for block in self.input_blocks:
            h = block(h, emb, recompute)
            skips.append(h)
        h = self.middle_block(h, emb, recompute)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, recompute)
        return self.out(h).to(x.dtype)


def _encoder(
    build: _Builder, stem: nn.Conv2d, widths: list[int], num_res_blocks: int, num_heads: int
) -> tuple[nn.ModuleList, list[int]]:
    """The way down, and the channels of each stage's output."""
    stages = nn.ModuleList([Stage([stem])])
    skips = [widths[0]]
    for level, width in enumerate(widths):
        if level > 0:
            stages.append(Stage([build.resample(Downsample, skips[-1])]))
            skips.append(skips[-1])
        for _ in range(num_res_blocks):
            stages.append(
                Stage([build.res(skips[-1], width), *build.attend(level, width, num_heads)])
            )
            skips.append(width)
    return stages, skips


def _decoder(
    build: _Builder, skips: list[int], widths: list[int], num_res_blocks: int, num_heads: int
) -> nn.ModuleList:
    """The way up; each stage takes the output of its counterpart on the way down as well."""
    stages = nn.ModuleList()
    channels = widths[-1]
    for level, width in reversed(list(enumerate(widths))):
        for i in range(num_res_blocks + 1):
            stage = Stage(
                [build.res(channels + skips.pop(), width), *build.attend(level, width, num_heads)]
            )
            if level > 0 and i == num_res_blocks:
                stage.append(build.resample(Upsample, width))
            stages.append(stage)
            channels = width
    return stages
