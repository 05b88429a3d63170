"""MoDE: two experts that help each other at the decoder (arXiv 2605.14391)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.networks.base import Base, BaseConfig, Synthesis
from nicodec.networks.layers import Block, RateBias, RateScale, gate, stack, zero_init
from nicodec.networks.vq import Painter, VQConfig, VQExpert
from nicodec.rate.scale import KNOTS

LEAK = 0.1


class ESE(nn.Module):
    """Expert-specific enhancement: `B(F) + gamma · R(B(F))`, gamma zero at first (MoDE).

    R is ours, pointwise, so that no tile needs a wider halo: 1x1 (c -> 4c), gate, 1x1. B is ours as well: `depth`
    blocks that start as the identity and see their neighbours, for an anchor that can be made better still; without
    them B(F) = F. Shapes: as F.
    """

    def __init__(self, channels: int, depth: int = 0) -> None:
        super().__init__()
        self.body = stack(channels, depth)
        for block in self.body:
            assert isinstance(block, Block)
            zero_init(block.pointwise)
            zero_init(block.down)
        self.up = nn.Conv2d(channels, 4 * channels, 1)
        self.down = nn.Conv2d(2 * channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        features = self.body(features)
        return features + self.gamma.to(features.dtype) * self.down(gate(self.up(features)))


class CEM(nn.Module):
    """Cross-expert modulation: the anchor's features A, helped by the other expert's O (MoDE).

    ::

        G = sigmoid(W [A, O, A - O])                       where to listen
        A + G · ((1 + s(O)) · psi(A, O) + b(O))             psi, s and b: 1x1 layers, psi with one depthwise 3x3

    psi's and b's last layers are zero at first, so that training starts at the frozen anchor; unless it is told to
    start at the other expert (`lean`, ours). The rate tells how much each expert knows.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3 * channels, channels, 1)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.psi = zero_init(nn.Conv2d(2 * channels, channels, 1))
        self.scale_shift = zero_init(nn.Conv2d(channels, 2 * channels, 1))
        self.rate = RateScale(channels)

    @torch.no_grad()
    def lean(self) -> None:
        """Start near O instead: psi = O - A, in both signs so that its leaky layer loses nothing, and an open gate.

        For experts whose features mean the same: the painter starts as the base's synthesis.
        """
        channels = self.psi.out_channels
        unit = torch.eye(channels)[:, :, None, None]
        self.mix.weight.copy_(torch.cat([torch.cat([-unit, unit], 1), torch.cat([unit, -unit], 1)]))
        self.depthwise.weight.zero_()[:, :, 1, 1] = 1.0
        self.psi.weight.copy_(torch.cat([unit, -unit], 1) / (1 + LEAK))
        for layer, bias in ((self.mix, 0.0), (self.depthwise, 0.0), (self.gate, 3.0)):
            assert layer.bias is not None
            layer.bias.fill_(bias)

    def forward(self, anchor: Tensor, other: Tensor, rate: Tensor) -> Tensor:
        other = self.rate(other, rate)
        gate = torch.sigmoid(self.gate(torch.cat([anchor, other, anchor - other], 1)))
        scale, shift = self.scale_shift(other).chunk(2, 1)
        mixed = self.psi(F.leaky_relu(self.depthwise(self.mix(torch.cat([anchor, other], 1))), LEAK))
        return anchor + gate * ((1 + scale) * mixed + shift)


class Blend(nn.Module):
    """Whose pixels MoDE-P takes: `A + G · (O - A)`, `G = sigmoid(W [A, O] + w(rate))`.

    Ours: CEM on pictures, where the other expert's are already of the right kind. It starts three quarters of the way
    from the perception expert's picture A to the fidelity expert's O at the lowest rate, nearly there at the highest.
    Shapes: (B, 48, H/4, W/4), unshuffled pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = zero_init(nn.Conv2d(2 * channels, channels, 1))
        self.rate = RateBias(channels)
        with torch.no_grad():
            self.rate.bias.copy_(torch.linspace(1.1, 4.0, KNOTS)[:, None])

    def forward(self, anchor: Tensor, other: Tensor, rate: Tensor) -> Tensor:
        share = torch.sigmoid(self.rate(self.gate(torch.cat([anchor, other], 1)), rate))
        return anchor + share * (other - anchor)


@dataclass(frozen=True)
class Scales:
    """Features of one expert at 1/16, 1/8 and 1/4 of the picture's sides."""

    f16: Tensor
    f8: Tensor
    f4: Tensor


class Anchored(nn.Module):
    """One anchor's modules: for each shared scale an ESE of the anchor, an ESE of the other, and a CEM.

    `depth`: blocks in the anchor's own ESE at 1/8; at 1/4, where a block sees half as far, twice as many.
    """

    def __init__(self, channels: tuple[int, int, int], depth: int = 0) -> None:
        super().__init__()
        self.own = nn.ModuleList([ESE(c, share * depth) for share, c in enumerate(channels)])
        self.other = nn.ModuleList([ESE(c) for c in channels])
        self.cross = nn.ModuleList([CEM(c) for c in channels])

    def forward(self, index: int, own: Tensor, other: Tensor, rate: Tensor) -> Tensor:
        return self.cross[index](self.own[index](own), self.other[index](other), rate)


@dataclass(frozen=True)
class MoDEConfig:
    """Channels of the features at 1/16, 1/8 and 1/4, of both experts; and the widths of the anchors' copies of them.

    Without `base` (fields of a `BaseConfig`) or `vq` (of a `VQConfig`) the expert itself is the anchor.
    """

    shared: tuple[int, int, int]
    base: dict[str, int] | None = None
    vq: dict[str, int] | None = None
    depth: int = 0  # blocks in MoDE-F's own ESE, see `Anchored`


class MoDE(nn.Module):
    """Two decodings of one file.

    ::

        MoDE-F: y_hat ─ g_s 1/16 ─ CEM ─ g_s 1/8 ─ CEM ─ its picture at 1/4 ─ CEM ─────────► x_f
                                  F_v ──┘          F_v ──┘                    F_v ──┘
        MoDE-P: code ─ painter 1/16 ─ CEM ─ painter 1/8 ─ CEM ─ painter 1/4 ─ CEM ─ picture ─ Blend ─► x_p
                                F_s ──┘           F_s ──┘             x_s ──┘           x_s ──┘

    One set of weights for all rates. The experts share 1/16 and 1/8; at 1/4 the fidelity expert has no features, and
    its picture, unshuffled, stands in (ours).

    In the paper only ESE and CEM are trained. Here each anchor goes on from the expert's weights in a copy of its own
    (g_s of MoDE-F, painter of MoDE-P), while the expert that it listens to stays as it is: with both frozen, MoDE-P
    lost to a g_s that was fine-tuned with the same losses.
    """

    def __init__(self, config: MoDEConfig) -> None:
        super().__init__()
        self.config = config
        wide_16, wide_8, wide_4 = config.shared
        self.fidelity = Anchored((wide_16, wide_8, wide_4), config.depth)
        self.perception = Anchored((wide_16, wide_8, wide_4))
        self.blend = Blend(wide_4)
        self.g_s = Synthesis(BaseConfig(**config.base)) if config.base else None
        self.painter = Painter(VQConfig(**config.vq)) if config.vq else None
        for cross in self.perception.cross[:2]:  # at 1/4 the other's features are pixels
            assert isinstance(cross, CEM)
            cross.lean()

    @classmethod
    def between(cls, base: Base, vq: VQExpert) -> MoDE:
        """Untrained, its anchors as far as their experts are."""
        widths = vq.config
        shared = (widths.wide_16, widths.wide_8, widths.wide_4)
        mode = cls(MoDEConfig(shared, asdict(base.config), asdict(widths), depth=1))
        assert mode.g_s is not None
        assert mode.painter is not None
        mode.g_s.load_state_dict(base.g_s.state_dict())
        mode.painter.load_state_dict(vq.painter.state_dict())
        return mode

    def sq_scales(self, base: Base, y_hat: Tensor, rate: Tensor) -> Scales:
        """What the fidelity expert makes of y_hat alone; the last one is its picture."""
        g_s = base.g_s
        linear = g_s.linear(y_hat)
        f16 = g_s.coarse_features(y_hat, rate)
        f8 = g_s.fine_features(f16, linear, rate)
        return Scales(f16, f8, F.pixel_unshuffle(g_s.picture(f8, linear) - 0.5, 4))

    def decode_fidelity(self, base: Base, vq: VQExpert, y_hat: Tensor, code: Tensor, rate: Tensor) -> Tensor:
        """MoDE-F: pixels (B, 3, H, W), about 0..1."""
        g_s, painter = self.g_s or base.g_s, vq.painter
        f16 = painter.coarse(code)
        f8 = painter.fine(f16, painter.first(code))
        f4 = painter.finest(f8)
        linear = g_s.linear(y_hat)
        features = self.fidelity(0, g_s.coarse_features(y_hat, rate), f16, rate)
        features = self.fidelity(1, g_s.fine_features(features, linear, rate), f8, rate)
        pixels = F.pixel_unshuffle(g_s.picture(features, linear) - 0.5, 4)
        return F.pixel_shuffle(self.fidelity(2, pixels, f4, rate), 4).float() + 0.5

    def decode_perception(self, base: Base, vq: VQExpert, y_hat: Tensor, code: Tensor, rate: Tensor) -> Tensor:
        """MoDE-P: pixels (B, 3, H, W), about 0..1."""
        painter, sq = self.painter or vq.painter, self.sq_scales(base, y_hat, rate)
        first = painter.first(code)
        features = self.perception(0, painter.coarse(code), sq.f16, rate)
        features = self.perception(1, painter.fine(features, first), sq.f8, rate)
        features = self.perception(2, painter.finest(features), sq.f4, rate)
        pixels = F.pixel_unshuffle(painter.picture(features, first) - 0.5, 4)
        return F.pixel_shuffle(self.blend(pixels, sq.f4, rate), 4).float() + 0.5
