"""The hyperprior's float half: h_a (encoder) and the mean path (both sides)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.entropy.order import Pass, passes
from nicodec.networks.layers import Block, Pointwise, RateBias, RateScale, easing, stack, zero_init
from nicodec.rate.scale import KNOTS


class HyperAnalysis(nn.Module):
    """h_a: y in units of its spread (B, M, H/16, W/16) -> z (B, N, H/64, W/64), to be rounded.

    ::

        y / std ─ 1x1 ─ block ─ 2x2 stride 2 ─ block ─ rate ─ 2x2 stride 2 ─► z
    """

    def __init__(self, latent: int, hyper: int, rows: int = KNOTS, eased: float = 0.0) -> None:
        super().__init__()
        self.ease = easing(eased)
        self.embed = Pointwise(latent, 2 * hyper)
        self.fine = Block(2 * hyper)
        self.shrink = nn.Conv2d(2 * hyper, 2 * hyper, 2, stride=2)
        self.coarse = Block(2 * hyper)
        self.rate = RateScale(2 * hyper, rows)
        self.head = nn.Conv2d(2 * hyper, hyper, 2, stride=2)

    def forward(self, y: Tensor, rate: Tensor) -> Tensor:
        features = self.coarse(self.shrink(self.fine(self.embed(self.ease(y)))))
        return self.head(self.rate(features, rate)).float()


class Means(nn.Module):
    """The mean path: what is known before a pass predicts y in that pass.

    ::

        z_hat ─ 1x1, shuffle 2 ─ block ─ 1x1, shuffle 2 ─► hyper features (B, w, H/16, W/16)
        [hyper features, y_hat of the slices so far] ─ 1x1 + rate ─ blocks ─ 1x1 (zero at start) ─► means of one slice

    Float: a decoder adds the means after all symbols are parsed, so no bit depends on them (JPEG AI's way).
    """

    def __init__(
        self, latent: int, hyper: int, width: int, slices: int, depth: int = 1, rows: int = KNOTS, eased: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__()
        self.ease = easing(eased)
        self.latent, self.slices = latent, slices
        self.embed = Pointwise(hyper, 4 * width // 2)
        self.embed_rate = RateBias(4 * width // 2, rows)
        self.coarse = Block(width // 2)
        self.grow = Pointwise(width // 2, 4 * width)
        self.entry = nn.ModuleList([Pointwise(width + step.known, width) for step in passes(latent, slices)])
        self.entry_rate = nn.ModuleList([RateBias(width, rows) for _ in self.entry])
        self.body = nn.ModuleList([Block(width) if depth == 1 else stack(width, depth) for _ in self.entry])
        self.exit = nn.ModuleList([zero_init(Pointwise(width, latent // slices)) for _ in self.entry])

    def features(self, z_hat: Tensor, rate: Tensor) -> Tensor:
        """Hyper features (B, w, H/16, W/16) of z_hat (B, N, H/64, W/64)."""
        coarse = F.pixel_shuffle(self.embed_rate(self.embed(z_hat), rate), 2)
        return F.pixel_shuffle(self.grow(self.coarse(coarse)), 2)

    def forward(self, features: Tensor, y_hat: Tensor, step: Pass, rate: Tensor) -> Tensor:
        """Means of the slice of `step` at all positions, in units of the spread of y.

        Args:
            features: hyper features (B, w, H/16, W/16).
            y_hat: (B, M, H/16, W/16) in the same units, zero where not yet decoded.
            step: which pass.
            rate: as in `interpolate`.
        """
        known = torch.cat([features, self.ease(y_hat[:, : step.known]).to(features.dtype)], 1)
        hidden = self.body[step.index](self.entry_rate[step.index](self.entry[step.index](known), rate))
        return self.exit[step.index](hidden).float()
