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

from nicodec.networks.layers import RateBias, RateScale, stack, zero_init
from nicodec.rate.scale import RATE_MAX

FURTHEST = 10.0  # spreads: further off, g_s does what it was never trained for
PER_COUNTER = 8  # normals that one 256-bit step of Philox's counter yields


@dataclass(frozen=True)
class FuserConfig:
    """Widths and depth of a denoiser."""

    latent: int = 320  # M, channels of the base's y
    width: int = 256
    depth: int = 5  # blocks; each sees one position further


class Denoiser(nn.Module):
    """D: what the residual r = (y' - y_hat) / spread of a natural latent y' is, given a noisy one.

    ::

        asinh [r_t, y_hat / y_spread] ─ 1x1 ─ bias(t) ─ scale(rate) ─ blocks ─ 1x1 (zero at start) ─► r

    Shapes: (B, M, H/16, W/16). Drawings reach 50 spreads, where products of products explode: hence asinh.

    r_t = cos(pi t / 2) r + sin(pi t / 2) noise; t in 0..1, at 1 all noise. It predicts r itself, so that one step is a
    prediction and not a direction. Convolutional and local: `halo` positions are all that it sees.

    Attributes:
        spread: (M,) of r in quantiser steps, over the training pictures.
        y_spread: (M,) of y in natural units.
    """

    spread: Tensor
    y_spread: Tensor

    def __init__(self, config: FuserConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("spread", torch.ones(config.latent))
        self.register_buffer("y_spread", torch.ones(config.latent))
        self.embed = nn.Conv2d(2 * config.latent, config.width, 1)
        self.time = RateBias(config.width)
        self.rate = RateScale(config.width)
        self.body = stack(config.width, config.depth)
        self.head = zero_init(nn.Conv2d(config.width, config.latent, 1))

    @property
    def halo(self) -> int:
        """Positions around one that it depends on, or one more: even, for tokens that are two positions wide."""
        return self.config.depth + self.config.depth % 2

    def forward(self, r_t: Tensor, t: Tensor, y_hat: Tensor, rate: Tensor) -> Tensor:
        """Predict r from r_t (B, M, h, w) at times t (B,), beside y_hat (B, M, h, w) in natural units."""
        features = self.embed(torch.cat([r_t, y_hat / self.y_spread[:, None, None]], 1).asinh())
        features = self.rate(self.time(features, t * RATE_MAX), rate)
        return self.head(self.body(features)).float().clamp(-FURTHEST, FURTHEST)

    def natural(self, y_hat: Tensor, step: Tensor, noise: Tensor, rate: Tensor, steps: int) -> Tensor:
        """Sample y' by DDIM (deterministic but for the noise that it starts from).

        Args:
            y_hat: (B, M, h, w) in natural units.
            step: the quantiser's in natural units, (B, M, 1, 1).
            noise: (B, M, h, w), standard normal.
            rate: (B,), 0..65535.
            steps: evaluations of D, 1 or more.

        Returns:
            y' (B, M, h, w) in natural units.
        """
        r_t = noise
        for index in range(steps, 0, -1):
            now, then = math.pi / 2 * index / steps, math.pi / 2 * (index - 1) / steps
            r = self(r_t, torch.full_like(rate, index / steps), y_hat, rate)
            r_t = math.cos(then) * r + math.sin(then) / math.sin(now) * (r_t - math.cos(now) * r)
        return y_hat + r_t * self.spread[:, None, None] * step


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
