"""The perception expert: tokens of a learned codebook, and the decoder that paints a picture from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.latents.geometry import PATCH
from nicodec.networks.base import BaseConfig, Synthesis
from nicodec.networks.lapping import Lapping
from nicodec.networks.layers import Block, stack, zero_init

PIXELS_4 = 3 * 4**2  # values of an RGB picture at each position of 1/4
SHARED = frozenset({"latent", "wide_16", "wide_8"})  # widths that an expert has from the base beside it


@dataclass(frozen=True)
class VQConfig:
    """Widths and depths of a perception expert. Counts of channels, except where said."""

    latent: int = 320  # M, channels of the base's y
    stride: int = 16  # side of the square of pixels that a token stands for: 16 or 32
    bits: int = 10  # depth of the codebook's tree: 2^bits vectors
    code: int = 16  # components of a vector
    wide_16: int = 192  # features at 1/16, as in the base
    wide_8: int = 96  # as in the base
    wide_4: int = PIXELS_4  # so that the experts share this scale as well
    depth_16: int = 3  # blocks
    depth_8: int = 3
    depth_4: int = 2

    def __post_init__(self) -> None:
        if self.stride not in (PATCH, 2 * PATCH):
            raise ValueError(f"a token's stride is {self.stride}, expected {PATCH} or {2 * PATCH}")
        if self.wide_4 != PIXELS_4:
            raise ValueError(f"wide_4 is {self.wide_4}, expected {PIXELS_4}: at 1/4 MoDE adds pixels to features")

    @classmethod
    def beside(cls, base: BaseConfig, **widths: int) -> VQConfig:
        """The widths in SHARED from the base, all others chosen."""
        return cls(latent=base.latent, wide_16=base.wide_16, wide_8=base.wide_8, **widths)


class Codebook(nn.Module):
    """2^bits vectors, ordered so that the bits of an index, highest first, are a path down a binary tree.

    A token of fewer bits is an inner node; its vector is the mean of the leaves below, weighted by their use.
    """

    vectors: Tensor
    usage: Tensor

    def __init__(self, bits: int, code: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("vectors", torch.randn(1 << bits, code))
        self.register_buffer("usage", torch.ones(1 << bits))

    def nodes(self, depth: int) -> Tensor:
        """Vectors of all nodes of one depth: (2^depth, code)."""
        weight = self.usage.clamp_min(1e-6).view(1 << depth, -1, 1)
        return (self.vectors.view(1 << depth, -1, self.vectors.shape[1]) * weight).sum(1) / weight.sum(1)

    def nearest(self, code: Tensor, depth: int) -> Tensor:
        """Code vectors (B, code, h, w) to the tokens (B, h, w), int64, of the nearest nodes of one depth."""
        nodes = self.nodes(depth)
        rows = code.permute(0, 2, 3, 1).float()
        return (nodes.square().sum(1) - 2 * rows @ nodes.T).argmin(-1)

    def lookup(self, tokens: Tensor, depth: int) -> Tensor:
        """Tokens (B, h, w) of one depth to code vectors (B, code, h, w)."""
        return F.embedding(tokens, self.nodes(depth)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def sort_as_tree(self) -> None:
        """Order the vectors: halve them along their main axis, then each half along its own, and so on."""
        order = torch.arange(len(self.vectors))
        for depth in range(self.bits):
            parts = []
            for part in order.view(1 << depth, -1):
                centred = self.vectors[part] - self.vectors[part].mean(0)
                axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
                parts.append(part[(centred @ axis).argsort()])
            order = torch.cat(parts)
        self.vectors.copy_(self.vectors[order])
        self.usage.copy_(self.usage[order])


class Tokenizer(nn.Module):
    """The base's latent to code vectors, to be replaced by their nearest nodes.

    ::

        y / std (B, M, H/16, W/16) ─┬─ 1x1 ─ blocks ─ [2x2 stride 2 ─ block] ─ 1x1 (zero at start) ─(+)─► code
                                    └─ linear, stride x stride ──────────────────────────────────────┘

    It reads y, not pixels: g_a has run anyway. code: (B, code, H/stride, W/stride).
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        width = config.wide_16
        self.embed = nn.Conv2d(config.latent, width, 1)
        self.body = stack(width, config.depth_16)
        if config.stride > PATCH:
            self.body.extend([nn.Conv2d(width, width, 2, stride=2), Block(width)])
        self.head = zero_init(nn.Conv2d(width, config.code, 1))
        side = config.stride // PATCH
        self.linear = nn.Conv2d(config.latent, config.code, side, stride=side, bias=False)

    @torch.no_grad()
    def start_from(self, std: Tensor, strongest: Tensor) -> None:
        """Start at the components `strongest` of y, those of more spread (std) larger, so that they matter more."""
        self.linear.weight.zero_()
        for index, channel in enumerate(strongest):
            self.linear.weight[index, channel] = (std[channel] / std.max()).sqrt() / self.linear.kernel_size[0]

    def forward(self, y: Tensor) -> Tensor:
        return self.linear(y) + self.head(self.body(self.embed(y)))


class Painter(nn.Module):
    """Code vectors to pixels, scale by scale.

    ::

        code ─┬─ 1x1 [shuffle 2] ─ blocks ─► F_v 1/16 ─ 1x1, shuffle 2 ─(+)─ blocks ─► F_v 1/8 ──┐
              └─ linear, shuffle ─ lapping ─┬─ unshuffle 8 ─ 1x1 ────────┘                       │
                                            └────────(+)─► x_v                                   │
                                                      └─ shuffle 4 ─ 3x3 ◄─ F_v 1/4 ◄─ blocks ─ 1x1, shuffle 2

    `coarse`, `fine` and `finest` make the features of a scale from those of the scale before, so that MoDE can step
    between them. Generating on to 1/4 keeps the eight-pixel grid of the base's transforms out of the picture.
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        c16, c8, c4 = config.wide_16, config.wide_8, config.wide_4
        self.stride, self.side = config.stride, config.stride // PATCH
        self.linear = nn.Conv2d(config.code, 3 * config.stride**2, 1, bias=False)
        self.lapping = Lapping()
        self.embed = nn.Conv2d(config.code, c16 * self.side**2, 1)
        self.body_16 = stack(c16, config.depth_16)
        self.grow_8 = nn.Conv2d(c16, 4 * c8, 1)
        self.look = nn.Conv2d(3 * 64, c8, 1)
        self.body_8 = stack(c8, config.depth_8)
        self.grow_4 = nn.Conv2d(c8, 4 * c4, 1)
        self.body_4 = stack(c4, config.depth_4)
        self.out = zero_init(nn.Conv2d(c4, 3 * 16, 3, padding=1))

    @torch.no_grad()
    def start_from(self, g_s: Synthesis, tokenizer: Tokenizer, std: Tensor) -> None:
        """Start as the base's synthesis at its lowest rate, fed with the y that is the likeliest for a code."""
        analysis = tokenizer.linear.weight  # (code, M, side, side), of y / std
        y = torch.linalg.pinv(analysis.flatten(1)).view(*analysis.shape[1:], -1) * std[:, None, None, None]
        basis = g_s.klt_t.weight[:, :, 0, 0].view(3, PATCH, PATCH, -1)
        self.linear.weight.copy_(torch.einsum("prsm,mijc->pirjsc", basis, y).reshape(self.linear.weight.shape))
        self.lapping.load_state_dict(g_s.lapping.state_dict())
        embed = torch.einsum("wm,mijc->wijc", g_s.embed.weight[:, :, 0, 0] / g_s.spread, y)
        scale_16, scale_8 = (layer.log_scale[0].exp() for layer in (g_s.coarse_rate, g_s.fine_rate))
        embed = embed.flatten(1, 2) * scale_16[:, None, None]
        self.embed.weight.copy_(embed.reshape(self.embed.weight.shape))
        assert self.embed.bias is not None
        assert g_s.embed.bias is not None
        self.embed.bias.copy_((g_s.embed.bias * scale_16).repeat_interleave(self.side**2))
        for own, other, repeats in ((self.grow_8, g_s.grow, 4), (self.look, g_s.look, 1)):
            scale = scale_8.repeat_interleave(repeats)
            state = {name: v * scale.view(-1, *[1] * (v.ndim - 1)) for name, v in other.state_dict().items()}
            own.load_state_dict(state)
        for body, its in ((self.body_16, g_s.coarse), (self.body_8, g_s.fine)):
            for block, its_block in zip(body, its, strict=False):
                block.load_state_dict(its_block.state_dict())

    def first(self, code: Tensor) -> Tensor:
        """The linear synthesis of code vectors (B, code, H/stride, W/stride): (B, 3, H, W), about -0.5..0.5."""
        return self.lapping(F.pixel_shuffle(self.linear(code).float(), self.stride))

    def coarse(self, code: Tensor) -> Tensor:
        """Code vectors -> features at 1/16."""
        return self.body_16(F.pixel_shuffle(self.embed(code), self.side))

    def fine(self, features: Tensor, first: Tensor) -> Tensor:
        """Features at 1/16, and what `first` made -> at 1/8."""
        features = F.pixel_shuffle(self.grow_8(features), 2) + self.look(F.pixel_unshuffle(first, 8))
        return self.body_8(features)

    def finest(self, features: Tensor) -> Tensor:
        """Features at 1/8 -> at 1/4."""
        return self.body_4(F.pixel_shuffle(self.grow_4(features), 2))

    def features(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Code vectors -> features at 1/16, 1/8 and 1/4."""
        coarse = self.coarse(code)
        fine = self.fine(coarse, self.first(code))
        return coarse, fine, self.finest(fine)

    def picture(self, features: Tensor, first: Tensor) -> Tensor:
        """Features at 1/4, and what `first` made -> pixels (B, 3, H, W), float32, about 0..1."""
        return first + F.pixel_shuffle(self.out(features), 4).float() + 0.5

    def forward(self, code: Tensor) -> Tensor:
        first = self.first(code)
        return self.picture(self.finest(self.fine(self.coarse(code), first)), first)


class VQExpert(nn.Module):
    """Tokenizer, codebook and painter.

    ::

        y ─► Tokenizer ─► nearest nodes ─► tokens ─► their vectors ─► Painter ─► x_v
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config)
        self.codebook = Codebook(config.bits, config.code)
        self.painter = Painter(config)

    @torch.inference_mode()
    def tokens(self, y: Tensor, depth: int) -> Tensor:
        """Encoder: y of tiles in units of its spread (B, M, H/16, W/16) to tokens (B, h, w), int64, 0..2^depth-1."""
        return self.codebook.nearest(self.tokenizer(y), depth)
