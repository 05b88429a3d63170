"""The fuser: a latent diffusion at the decoder, from y_hat towards a latent that decodes to a natural picture.

After Zhou et al. (arXiv 2412.11379): base codec and file stay as they are; tau says how far the decoder goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.latents.geometry import PATCH
from nicodec.networks.base import Base, BaseConfig, Synthesis
from nicodec.networks.lapping import Lapping
from nicodec.networks.layers import Pointwise, RateBias, interpolate, zero_init
from nicodec.painters.strength import plain
from nicodec.rate.scale import KNOT_SPACING, KNOTS, RATE_MAX, TUNE_SPACING

FURTHEST = 10.0  # spreads: further off there is nothing natural


@dataclass(frozen=True)
class FuserConfig:
    """Widths and depths of a denoiser. Counts of channels; depths are blocks."""

    latent: int = 320  # M, channels of the base's y
    wide_16: int = 192  # features at 1/16
    wide_8: int = 96
    depth_16: int = 3
    depth_8: int = 3
    tunes: int = 1  # of the base; with several, files have quality maps, and it is trained with them
    eased: float = 0.0  # as in the base
    texture: str = ""  # id of the texture part whose tokens it hears
    groups: int = 0  # of components that these speak of; 0: it hears none
    anchored: bool = False  # with a `Strengths`


class Listening(nn.Module):
    """What tokens of texture do to features: CEM of MoDE (arXiv 2605.14391), with the tokens as the other expert.

    ::

        said ─ 1x1 ─ leaky ─ 1x1 (zero at start) ─ repeat ─► s, b;    F ──► F + s F + b

    The paper's gate is left out: s and b are already functions of what is said, cell by cell.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.read = Pointwise(groups + 1, channels)
        self.tell = zero_init(Pointwise(channels, 2 * channels))

    def forward(self, features: Tensor, said: Tensor) -> Tensor:
        """Features (B, C, H, W) and `said` as in `Denoiser.forward` -> (B, C, H, W)."""
        told = self.tell(F.leaky_relu(self.read(said), 0.1))
        scale, shift = F.interpolate(told, features.shape[2:], mode="nearest").chunk(2, 1)
        return features * (1 + scale) + shift


class Strengths(nn.Module):
    """How strongly tokens of texture act in the perception anchor at tau 1: tables over the rate, see `Strength`.

    They start as what serves a fuser without any. `price` is training's own: what squared error is worth. `reach`:
    times what serves best, so that tau loses as much at each rate.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        each = [plain(rate) for rate in range(0, KNOTS * KNOT_SPACING, KNOT_SPACING)]
        self.heard = nn.Parameter(torch.tensor([[one.heard] for one in each]))
        self.led = nn.Parameter(torch.tensor([one.led.tolist() * (groups + 1) for one in each]))
        self.textured = nn.Parameter(torch.tensor([one.textured.tolist() * groups for one in each]))
        self.price = nn.Parameter(torch.full((KNOTS, 1), 0.5))
        self.reach = nn.Parameter(torch.ones(KNOTS, 1))

    def at(self, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At rates as in `interpolate`: (B, 1, 1, 1), (B, G + 1, 1, 1), (B, G, 1, 1)."""
        heard, led, textured = (interpolate(table, of_files(rate)) for table in (self.heard, self.led, self.textured))
        return heard, led, textured

    def reach_and_price(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """At such rates, (B,) each; a price below 0 is none."""
        reach, price = (interpolate(table, of_files(rate))[:, 0, 0, 0] for table in (self.reach, self.price))
        return reach, price


def of_files(rate: Tensor) -> Tensor:
    """The files' rates (B,) of rates as in `interpolate`: without the tune, and the mean of a quality map."""
    return (rate % TUNE_SPACING).reshape(len(rate), -1).mean(1)


class Denoiser(nn.Module):
    """D: what the residual r = (y' - y_hat) / unit of a natural latent y' is, given a noisy one.

    ::

        y_hat ─┬─ /spread ─ 1x1 ─(+)─ said ─ blocks 1/16 ─ 1x1, shuffle 2 ─(+)─ blocks 1/8 ─ said ─┐
               │  time, asinh r_t ┘                                         │                      │
               └─ linear ──┬─ unshuffle 8 ─ 1x1 ────────────────────────────┘                      │
                           └─(+)─ lapping ─ unshuffle 16 ─ K ─ minus y_hat, /unit ─► r             │
                              └──────────── shuffle 8 ◄─ 1x1 (zero at start) ◄─────────────────────┘

    It is a `Synthesis` g_s, conditioned on a time and a noisy residual as well, and its picture goes back through a
    linear analysis: texture is the same work at every place of a 16x16 patch, which layers at 1/16 would have to learn
    for each place. On our base it starts as the base's own g_s and g_a (`start_from`). `said` is a `Listening`, where
    tokens of texture are heard.

    r_t = cos(pi t / 2) r + sin(pi t / 2) noise; t in 0..1, at 1 all noise. It predicts r itself, so that one step is a
    prediction and not a direction. Convolutional and local: it sees `nicodec.painters.fuser.halo_of` positions.

    Attributes:
        spread: (M,) of r in quantiser steps, over the training pictures; unit = spread · step.
    """

    spread: Tensor

    def __init__(self, config: FuserConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("spread", torch.ones(config.latent))
        self.g_s = Synthesis(
            BaseConfig(
                latent=config.latent, wide_16=config.wide_16, wide_8=config.wide_8,
                depth_16=config.depth_16, depth_8=config.depth_8 - 1, tunes=config.tunes, eased=config.eased,
            )
        )  # fmt: skip
        self.hear = zero_init(nn.Conv2d(config.latent, config.wide_16, 1, bias=False))
        self.time = RateBias(config.wide_16)
        if config.groups:
            self.coarse_said = Listening(config.groups, config.wide_16)
            self.fine_said = Listening(config.groups, config.wide_8)
        if config.anchored:
            self.strengths = Strengths(config.groups)
        self.lapping = Lapping()
        self.klt = nn.Conv2d(3 * PATCH**2, config.latent, 1, bias=False)
        nn.init.orthogonal_(self.klt.weight)  # on any base, r starts as nothing
        self.g_s.klt_t.weight.data.copy_(self.klt.weight.transpose(0, 1))

    @torch.no_grad()
    def start_from(self, base: Base) -> None:
        """Take the weights of the base's g_s, and of its g_a, which brings pictures back into the latent."""
        self.g_s.load_state_dict(base.g_s.state_dict())
        self.lapping.load_state_dict(base.g_a.lapping.state_dict())
        self.klt.load_state_dict(base.g_a.klt.state_dict())

    def forward(
        self, r_t: Tensor, t: Tensor, y_hat: Tensor, linear: Tensor, step: Tensor, rate: Tensor,
        said: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Predict r.

        Args:
            r_t: (B, M, h, w), in units of `spread` and step.
            t: (B,) times.
            y_hat: (B, M, h, w) in natural units.
            linear: its linear synthesis by `g_s` (B, 3, 16 h, 16 w), which every step sees again.
            step: the quantiser's in natural units, (B, M, 1, 1), or a map of them as large as y_hat.
            rate: as in `interpolate`.
            said: by tokens of texture (B, groups + 1, h, w): log ratios of amplitudes, and 1; or all 0, where nothing
                is. None: as if it could hear none.

        Returns:
            (B, M, h, w), float32, FURTHEST at most.
        """
        heard = self.time(self.hear(r_t.asinh()), t * RATE_MAX)
        if said is not None:
            heard = self.coarse_said(heard, said)
        features = self.g_s.fine_features(self.g_s.coarse_features(y_hat, rate, heard), linear, rate)
        if said is not None:
            features = self.fine_said(features, said)
        mended = self.g_s.mended(features)
        with torch.autocast(y_hat.device.type, enabled=False):  # a difference, of which bf16 would leave nothing
            painted = self.lapping(linear + mended)
            r = (self.klt(F.pixel_unshuffle(painted, PATCH)) - y_hat) / (self.spread[:, None, None] * step)
            return r.clamp(-FURTHEST, FURTHEST)

    def residual(
        self, y_hat: Tensor, step: Tensor, noise: Tensor, rate: Tensor, steps: int, said: Tensor | None = None
    ) -> Tensor:
        """Sample y' - y_hat by DDIM (deterministic but for the noise that it starts from).

        Args:
            y_hat: (B, M, h, w) in natural units.
            step, rate, said: as in `forward`.
            noise: (B, M, h, w), standard normal.
            steps: evaluations of D, 1 or more.

        Returns:
            (B, M, h, w) in natural units.
        """
        r_t, linear = noise, self.g_s.linear(y_hat)
        for index in range(steps, 0, -1):
            now, then = math.pi / 2 * index / steps, math.pi / 2 * (index - 1) / steps
            time = y_hat.new_full((len(y_hat),), index / steps)
            r = self(r_t, time, y_hat, linear, step, rate, said)
            r_t = math.cos(then) * r + math.sin(then) / math.sin(now) * (r_t - math.cos(now) * r)
        return r_t * self.spread[:, None, None] * step
