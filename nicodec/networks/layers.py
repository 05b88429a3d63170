"""The few layers that every network here is made of."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.rate.scale import KNOT_SPACING, KNOTS

GATE_MAX = 20.0  # photographs reach 17 in the trained base
FEATURE_MAX = 100.0  # photographs reach 76
PATCH = 16  # one latent position stands for 16x16 pixels


class Block(nn.Module):
    """Depthwise mixing in space, then a gated pointwise layer across channels.

    ::

        x ──► leaky ──► depthwise 3x3 ──► 1x1 ──(+x)──► 1x1 (c -> 4c) ──► gate ──► 1x1 (2c -> c) ──(+)──► limit ──►

    In the manner of DCVC-RT's depthwise blocks (arXiv 2502.20762); the gate is a plain ReLU here. Gate and features are
    limited, far above what photographs need: products of products would grow without bound on what training never saw.
    Shapes: (B, c, H, W) -> (B, c, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.up = nn.Conv2d(channels, 4 * channels, 1)
        self.down = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pointwise(self.depthwise(F.leaky_relu(x, 0.1)))
        return (x + self.down(gate(self.up(x)))).clamp(-FEATURE_MAX, FEATURE_MAX)


def gate(x: Tensor) -> Tensor:
    """(B, 2c, H, W) -> (B, c, H, W): half of the channels times the other half, which is limited to 0..GATE_MAX."""
    u, v = x.chunk(2, 1)
    return u * v.clamp(0, GATE_MAX)


def float64_product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) x (k, m) by torch, for the integer path: several times as fast as numpy's own BLAS on some machines."""
    with torch.autocast("cpu", enabled=False):
        return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def stack(channels: int, depth: int) -> nn.Sequential:
    """`depth` blocks in a row."""
    return nn.Sequential(*[Block(channels) for _ in range(depth)])


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Make a layer put out zeros at first, so that the branch that ends in it starts as no branch at all."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def interpolate(knots: Tensor, rate: Tensor) -> Tensor:
    """Read a table of per-rate vectors between its knots, linearly.

    Args:
        knots: (KNOTS, C), any float dtype.
        rate: (B,) float or integer rates, 0..65535.

    Returns:
        (B, C, 1, 1), ready to act on feature maps.
    """
    position = rate.to(knots.dtype) / KNOT_SPACING
    low = position.floor().clamp(0, KNOTS - 2)
    weight = (position - low)[:, None]
    index = low.long()
    return ((1 - weight) * knots[index] + weight * knots[index + 1])[:, :, None, None]


class RateScale(nn.Module):
    """Multiply channels by a learned function of the rate; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(KNOTS, channels))

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        return x * interpolate(self.log_scale, rate).exp().to(x.dtype)


class RateBias(nn.Module):
    """Add a learned function of the rate to each channel; starts as nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(KNOTS, channels))

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        return x + interpolate(self.bias, rate).to(x.dtype)
