"""Trust: how far each component of a latent is as references say, by what is decoded of it so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nicodec.entropy.order import Pass, passes
from nicodec.networks.base import BaseConfig
from nicodec.networks.layers import Block, Pointwise, RateBias, easing, zero_init
from nicodec.rate.scale import KNOTS

SHARED = frozenset({"latent", "slices", "context", "tunes", "eased"})  # fields that a config has from its base's


@dataclass(frozen=True)
class TrustConfig:
    """Widths. Counts of channels, except the slices and tunes, which are the base's."""

    latent: int = 320  # M, channels of the base's y
    slices: int = 2
    context: int = 160  # features of the mean path
    tunes: int = 1
    eased: float = 0.0  # as in the base
    width: int = 96

    def __post_init__(self) -> None:
        if self.slices < 2:
            raise ValueError("a base of one slice has none that trust tells of")

    @classmethod
    def on(cls, base: BaseConfig, **widths: int) -> TrustConfig:
        """Beside a base's means."""
        return cls(
            latent=base.latent, slices=base.slices, context=base.context, tunes=base.tunes, eased=base.eased, **widths
        )


class Trust(nn.Module):
    """Means where references are trusted; the mean path's counterpart, in the same passes and units.

    ::

        [hyper features, y_ref, y_hat - y_ref so far] ─ 1x1 + rate ─ block ─ 1x1 (zero at start) ─► share, rest
        share · y_ref + rest ─► means of one slice

    The last slice is as it stands: in the bases here its components are the weakest, and gain little. CLS of CLC
    conditions coding on a latent of the references; that this is the aligned latent itself, that it is mixed by
    component, and that what it was wrong by so far is seen, is ours. At first the share is 1, the rest nothing. Float:
    no bit depends on it.
    """

    def __init__(self, config: TrustConfig) -> None:
        super().__init__()
        self.config = config
        self.ease = easing(config.eased)
        width, part = config.width, config.latent // config.slices
        self.steps = steps = passes(config.latent, config.slices)[:-2]
        self.entry = nn.ModuleList([Pointwise(config.context + step.stop + step.known, width) for step in steps])
        self.entry_rate = nn.ModuleList([RateBias(width, KNOTS * config.tunes) for _ in steps])
        self.body = nn.ModuleList([Block(width) for _ in steps])
        self.exit = nn.ModuleList([zero_init(Pointwise(width, 2 * part)) for _ in steps])

    def features(self, hyper: Tensor, y_ref: Tensor, off: Tensor, step: Pass, rate: Tensor) -> Tensor:
        """What `means` come of: (B, width, H/16, W/16). Arguments as in `forward`."""
        seen = self.ease(torch.cat([y_ref[:, : step.stop], off[:, : step.known]], 1))
        known = torch.cat([hyper, seen.to(hyper.dtype)], 1)
        return self.body[step.index](self.entry_rate[step.index](self.entry[step.index](known), rate))

    def means(self, features: Tensor, y_ref: Tensor, step: Pass) -> Tensor:
        """Means of the slice of `step` at all positions, (B, M/slices, H/16, W/16)."""
        logit, rest = self.exit[step.index](features).float().chunk(2, 1)
        return 2 * logit.sigmoid() * y_ref[:, step.start : step.stop] + rest

    def forward(self, hyper: Tensor, y_ref: Tensor, off: Tensor, step: Pass, rate: Tensor) -> Tensor:
        """Means of the slice of `step` at all positions, (B, M/slices, H/16, W/16), in units of the spread of y.

        Args:
            hyper: the mean path's features of z_hat, (B, context, H/16, W/16).
            y_ref: what references say, (B, M, H/16, W/16), in units of the spread of y (`Base.unit`).
            off: y_hat - y_ref in these units, zero where y_hat is not yet decoded.
            step: which pass.
            rate: as in `interpolate`.
        """
        return self.means(self.features(hyper, y_ref, off, step, rate), y_ref, step)
