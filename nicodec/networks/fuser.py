"""The fuser: a latent diffusion at the decoder, from y_hat towards a latent that decodes to a natural picture.

After Zhou et al. (arXiv 2412.11379): base codec and file stay as they are; tau says how far the decoder goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.networks.base import Base
from nicodec.networks.lapping import Lapping
from nicodec.networks.layers import PATCH, RateBias, RateScale, stack, zero_init
from nicodec.rate.scale import RATE_MAX

FURTHEST = 10.0  # spreads: further off, g_s does what it was never trained for
PER_COUNTER = 8  # normals that one 256-bit step of Philox's counter yields


@dataclass(frozen=True)
class FuserConfig:
    """Widths and depths of a denoiser. Counts of channels; depths are blocks."""

    latent: int = 320  # M, channels of the base's y
    wide_16: int = 192  # features at 1/16
    wide_8: int = 96
    wide_4: int = 48
    depth_16: int = 3
    depth_8: int = 3
    depth_4: int = 2


class Denoiser(nn.Module):
    """D: what the residual r = (y' - y_hat) / unit of a natural latent y' is, given a noisy one.

    ::

        y_hat ─┬─ /y_spread ─ 1x1 ─(+)─ time, rate ─ blocks 1/16 ─ 1x1, shuffle 2 ─(+)─ time, rate ─ blocks 1/8 ┐
               │     asinh r_t ─ 1x1                                                │                           │
               └─ linear, shuffle 16 ─ lapping ─ unshuffle 8 ─ 1x1 ─────────────────┘                           │
                              r ◄─ /unit ◄─ linear ◄─ lapping ◄─ 3x3 (zero at start) ◄─ blocks 1/4 ◄─ 1x1, shuffle 2

    It paints at 1/4 what is to be added to the picture, and puts that through a linear analysis: texture is the same
    work at every place of a 16x16 patch, which layers at 1/16 would have to learn for each place anew. On our base it
    starts with what g_s and g_a know (`start_from`).

    r_t = cos(pi t / 2) r + sin(pi t / 2) noise; t in 0..1, at 1 all noise. It predicts r itself, so that one step is a
    prediction and not a direction. Convolutional and local: `halo` positions are all that it sees.

    Attributes:
        spread: (M,) of r in quantiser steps, over the training pictures; unit = spread · step.
        y_spread: (M,) of y in natural units.
    """

    spread: Tensor
    y_spread: Tensor

    def __init__(self, config: FuserConfig) -> None:
        super().__init__()
        self.config = config
        c16, c8, c4 = config.wide_16, config.wide_8, config.wide_4
        self.register_buffer("spread", torch.ones(config.latent))
        self.register_buffer("y_spread", torch.ones(config.latent))
        self.embed = nn.Conv2d(config.latent, c16, 1)
        self.hear = zero_init(nn.Conv2d(config.latent, c16, 1, bias=False))
        self.time_16, self.time_8 = RateBias(c16), RateBias(c8)
        self.rate_16, self.rate_8 = RateScale(c16), RateScale(c8)
        self.body_16 = stack(c16, config.depth_16)
        self.grow_8 = nn.Conv2d(c16, 4 * c8, 1)
        self.linear = nn.Conv2d(config.latent, 3 * PATCH**2, 1, bias=False)
        self.unlapping = Lapping()
        self.look = nn.Conv2d(3 * 64, c8, 1)
        self.body_8 = stack(c8, config.depth_8)
        self.grow_4 = nn.Conv2d(c8, 4 * c4, 1)
        self.body_4 = stack(c4, config.depth_4)
        self.out = zero_init(nn.Conv2d(c4, 3 * 16, 3, padding=1))
        self.lapping = Lapping()
        self.klt = nn.Conv2d(3 * PATCH**2, config.latent, 1, bias=False)

    @torch.no_grad()
    def start_from(self, base: Base) -> None:
        """Hear y_hat as g_s does, and bring pictures into the latent as g_a does."""
        g_a, g_s = base.g_a, base.g_s
        pairs = {
            self.embed: g_s.embed, self.rate_16: g_s.coarse_rate, self.grow_8: g_s.grow, self.linear: g_s.klt_t,
            self.unlapping: g_s.lapping, self.look: g_s.look, self.rate_8: g_s.fine_rate,
            self.lapping: g_a.lapping, self.klt: g_a.klt,
        }  # fmt: skip
        for own, other in pairs.items():
            own.load_state_dict(other.state_dict())
        for body, its in ((self.body_16, g_s.coarse), (self.body_8, g_s.fine)):
            for block, its_block in zip(body, its, strict=False):
                block.load_state_dict(its_block.state_dict())
        self.y_spread.copy_(g_s.spread)

    @property
    def halo(self) -> int:
        """Positions around one that it depends on, or more: even, for tokens that are two positions wide."""
        config = self.config
        blocks = config.depth_16 + config.depth_8 / 2 + (config.depth_4 + 1) / 4
        return 2 * math.ceil((blocks + 2) / 2)  # both lappings reach half a position

    def look_at(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """What of y_hat (B, M, h, w), natural units, every step sees again: features at 1/16 and at 1/8."""
        picture = self.unlapping(F.pixel_shuffle(self.linear(y_hat), PATCH))
        return self.embed(y_hat / self.y_spread[:, None, None]), self.look(F.pixel_unshuffle(picture, 8))

    def forward(self, r_t: Tensor, t: Tensor, seen: tuple[Tensor, Tensor], step: Tensor, rate: Tensor) -> Tensor:
        """Predict r.

        Args:
            r_t: (B, M, h, w), in units of `spread` and step.
            t: (B,) times.
            seen: of y_hat, by `look_at`.
            step: the quantiser's in natural units, (B, M, 1, 1).
            rate: (B,), 0..65535.

        Returns:
            (B, M, h, w), float32, FURTHEST at most.
        """
        time = t * RATE_MAX
        features = self.body_16(self.rate_16(self.time_16(seen[0] + self.hear(r_t.asinh()), time), rate))
        features = F.pixel_shuffle(self.grow_8(features), 2) + seen[1]
        features = self.body_8(self.rate_8(self.time_8(features, time), rate))
        features = self.body_4(F.pixel_shuffle(self.grow_4(features), 2))
        painted = self.lapping(F.pixel_shuffle(self.out(features), 4).float())
        r = self.klt(F.pixel_unshuffle(painted, PATCH)) / (self.spread[:, None, None] * step)
        return r.float().clamp(-FURTHEST, FURTHEST)

    def residual(self, y_hat: Tensor, step: Tensor, noise: Tensor, rate: Tensor, steps: int) -> Tensor:
        """Sample y' - y_hat by DDIM (deterministic but for the noise that it starts from).

        Args:
            y_hat: (B, M, h, w) in natural units.
            step: the quantiser's in natural units, (B, M, 1, 1).
            noise: (B, M, h, w), standard normal.
            rate: (B,), 0..65535.
            steps: evaluations of D, 1 or more.

        Returns:
            (B, M, h, w) in natural units.
        """
        r_t, seen = noise, self.look_at(y_hat)
        for index in range(steps, 0, -1):
            now, then = math.pi / 2 * index / steps, math.pi / 2 * (index - 1) / steps
            r = self(r_t, torch.full_like(rate, index / steps), seen, step, rate)
            r_t = math.cos(then) * r + math.sin(then) / math.sin(now) * (r_t - math.cos(now) * r)
        return r_t * self.spread[:, None, None] * step


def normals(seed: int, rows: slice, columns: slice, channels: int) -> NDArray[np.float32]:
    """Standard normal noise of a part of a latent (channels, h, w): the same whatever part is asked for, anywhere.

    Philox (Salmon et al. 2011), keyed by seed and row, its counter set by the column; Box and Muller's transform.
    """
    counters = -(-channels // PER_COUNTER)
    count = columns.stop - columns.start
    noise = np.empty((rows.stop - rows.start, count, counters * PER_COUNTER), np.float32)
    for index, row in enumerate(range(rows.start, rows.stop)):
        source = np.random.Philox(key=np.array([seed, row], np.uint64))
        source.advance(columns.start * counters)
        halves = source.random_raw(count * counters * 4).view(np.uint32).reshape(count, -1, 2)
        radius = np.sqrt(-2 * np.log((halves[..., 0] + 1.0) / 2.0**32))
        angle = halves[..., 1] * (2 * np.pi / 2.0**32)
        noise[index] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(count, -1)
    return np.ascontiguousarray(noise[:, :, :channels].transpose(2, 0, 1))
