"""MoDE: decoders that fuse two experts' features, one for each anchor (arXiv 2605.14391)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.networks.base import Base, BaseConfig, Synthesis
from nicodec.networks.layers import Block, RateScale, gate, stack, zero_init
from nicodec.networks.vq import Painter, VQConfig, VQExpert
from nicodec.rate.scale import KNOTS

LEAK = 0.1
ADDED_MAX = 0.1  # what MoDE-P's painter may add to a pixel: on photographs 0.02 is a lot, on rare drawings it ran away


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

        G = sigmoid(W [A, O, A - O])                       gate: how much of O
        A + G · ((1 + s(O)) · psi(A, O) + b(O))             psi, s and b: 1x1 layers, psi with one depthwise 3x3

    psi's and b's last layers are zero at first, so that training starts at the frozen anchor; unless it is told to
    start at the other expert (ours). What each expert is worth depends on the rate.
    """

    def __init__(self, channels: int, rows: int = KNOTS) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3 * channels, channels, 1)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.psi = zero_init(nn.Conv2d(2 * channels, channels, 1))
        self.scale_shift = zero_init(nn.Conv2d(channels, 2 * channels, 1))
        self.rate = RateScale(channels, rows)

    @torch.no_grad()
    def start_at_other_expert(self) -> None:
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


class Anchored(nn.Module):
    """One anchor's modules: for each shared scale an ESE of the anchor, an ESE of the other, and a CEM.

    `rows`: of tables over the rate, as in the base. `depth`: blocks in the anchor's own ESE at 1/8; at 1/4, where a
    block sees half as far, twice as many.
    """

    def __init__(self, channels: tuple[int, int, int], rows: int, depth: int = 0) -> None:
        super().__init__()
        self.own = nn.ModuleList([ESE(c, share * depth) for share, c in enumerate(channels)])
        self.other = nn.ModuleList([ESE(c) for c in channels])
        self.cross = nn.ModuleList([CEM(c, rows) for c in channels])

    def forward(self, index: int, own: Tensor, other: Tensor, rate: Tensor) -> Tensor:
        return self.cross[index](self.own[index](own), self.other[index](other), rate)


@dataclass(frozen=True)
class MoDEConfig:
    """Widths of the two experts, which the anchors' copies share: fields of a `BaseConfig` and of a `VQConfig`."""

    base: dict[str, Any]
    vq: dict[str, int]
    depth: int = 1  # blocks in MoDE-F's own ESE, see `Anchored`


class MoDE(nn.Module):
    """Two decodings of one file.

    ::

        MoDE-F: y_hat ─ g_s_f 1/16 ─ CEM ─ g_s_f 1/8 ─ CEM ─ its picture at 1/4 ─ CEM ──────────────► x_f
                                    F_v ──┘            F_v ──┘                    F_v ──┘
        MoDE-P: code ─ painter 1/16 ─ CEM ─ painter 1/8 ─ CEM ─ painter 1/4 ─ CEM ─ 3x3 (zero at start) ─(+)─► x_p
                                F_s ──┘           F_s ──┘             x_s ──┘                             │
                y_hat ─ g_s_p ───┴─────────────────┴───────────────────┴──────────────────────────────────┘

    One set of weights for all rates. The experts share 1/16 and 1/8; at 1/4 the fidelity expert has no features, and
    its picture, unshuffled, stands in (ours).

    In the paper both experts stay frozen, only ESE and CEM are trained, and MoDE-P's picture is the painter's. Here
    an anchor goes on from the experts' weights in copies of its own, and MoDE-P's picture is what the painter adds to
    the fidelity expert's: with frozen experts MoDE-P lost to a g_s that was fine-tuned with the same losses. MoDE-F
    still takes the frozen painter's features, and tokens and latents are the frozen experts'.
    """

    def __init__(self, config: MoDEConfig) -> None:
        super().__init__()
        self.config = config
        base, vq = BaseConfig(**config.base), VQConfig(**config.vq)
        shared = (vq.wide_16, vq.wide_8, vq.wide_4)
        self.fidelity = Anchored(shared, base.rows, config.depth)
        self.perception = Anchored(shared, base.rows)
        self.g_s_f, self.g_s_p = Synthesis(base), Synthesis(base)
        self.painter = Painter(vq)
        for cross in self.perception.cross[:2]:  # at 1/4 the other's features are pixels
            assert isinstance(cross, CEM)
            cross.start_at_other_expert()

    @classmethod
    def between(cls, base: Base, vq: VQExpert) -> MoDE:
        """Untrained: MoDE-F's picture is the base's, and so is MoDE-P's."""
        mode = cls(MoDEConfig(asdict(base.config), asdict(vq.config)))
        for g_s in (mode.g_s_f, mode.g_s_p):
            g_s.load_state_dict(base.g_s.state_dict())
        mode.painter.load_state_dict(vq.painter.state_dict())
        zero_init(mode.painter.out)
        return mode

    def decode_fidelity(self, painter: Painter, y_hat: Tensor, code: Tensor, rate: Tensor) -> Tensor:
        """MoDE-F: pixels (B, 3, H, W), about 0..1. `painter`: the perception expert's, whose features it takes."""
        return self.fidelity_picture(y_hat, painter.features(code), rate)

    def fidelity_picture(self, y_hat: Tensor, heard: tuple[Tensor, Tensor, Tensor], rate: Tensor) -> Tensor:
        """As `decode_fidelity`, where the painter's features (`Painter.features`) are there already."""
        f16, f8, f4 = heard
        linear = self.g_s_f.linear(y_hat)
        features = self.fidelity(0, self.g_s_f.coarse_features(y_hat, rate), f16, rate)
        features = self.fidelity(1, self.g_s_f.fine_features(features, linear, rate), f8, rate)
        pixels = F.pixel_unshuffle(self.g_s_f.picture(features, linear) - 0.5, 4)
        return F.pixel_shuffle(self.fidelity(2, pixels, f4, rate), 4).float() + 0.5

    def decode_perception(
        self, y_hat: Tensor, code: Tensor, rate: Tensor,
        lead: Callable[[Tensor], Tensor] | None = None, taus: Sequence[Tensor | float] = (0.0,),
    ) -> list[Tensor]:  # fmt: skip
        """MoDE-P: pixels (B, 3, H, W), about 0..1, for each of `taus`: how far the expert's picture is led first.

        `lead`: of that picture, what a fuser adds to it at tau 1.
        """
        plain, features = self.perception_features(y_hat, code, rate)
        led = lead(plain) if lead else 0.0
        return [self.painted(plain + tau * led, features, rate) for tau in taus]

    def perception_features(self, y_hat: Tensor, code: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """The picture that MoDE-P starts from, and what its painter has to say, at 1/4."""
        linear = self.g_s_p.linear(y_hat)
        s16 = self.g_s_p.coarse_features(y_hat, rate)
        s8 = self.g_s_p.fine_features(s16, linear, rate)
        features = self.perception(0, self.painter.coarse(code), s16, rate)
        features = self.perception(1, self.painter.fine(features, self.painter.first(code)), s8, rate)
        return self.g_s_p.picture(s8, linear), self.painter.finest(features)

    def painted(self, x_s: Tensor, features: Tensor, rate: Tensor) -> Tensor:
        """The fidelity expert's picture and, of the painter's features at 1/4, what is to be added to it."""
        features = self.perception(2, features, F.pixel_unshuffle(x_s - 0.5, 4), rate)
        return x_s + F.pixel_shuffle(self.painter.out(features), 4).float().clamp(-ADDED_MAX, ADDED_MAX)
