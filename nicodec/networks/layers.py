"""The few layers that every network here is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.rate.scale import KNOT_SPACING, KNOTS

GATE_MAX = 20.0  # photographs reach 17 in the trained base
FEATURE_MAX = 100.0  # photographs reach 76


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, (B, in, H, W) -> (B, out, H, W), as one matrix product over positions.

    In channels-last memory that is a quarter quicker on a CPU than torch's convolution.
    """

    def __init__(self, channels: int, out: int, bias: bool = True) -> None:
        super().__init__(channels, out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


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
        self.pointwise = Pointwise(channels, channels)
        self.up = Pointwise(channels, 4 * channels)
        self.down = Pointwise(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pointwise(self.depthwise(F.leaky_relu(x, 0.1)))
        return (x + self.down(gate(self.up(x)))).clamp(-FEATURE_MAX, FEATURE_MAX)


def gate(x: Tensor) -> Tensor:
    """(B, 2c, H, W) -> (B, c, H, W): half of the channels times the other half, which is limited to 0..GATE_MAX."""
    u, v = x.chunk(2, 1)
    return u * v.clamp(0, GATE_MAX)


def stack(channels: int, depth: int) -> nn.Sequential:
    """`depth` blocks in a row."""
    return nn.Sequential(*[Block(channels) for _ in range(depth)])


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Make a layer put out zeros at first, so that the branch that ends in it starts as no branch at all."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def easing(eased: float) -> Callable[[Tensor], Tensor]:
    """What a network does to whitened values v before it looks at them: `eased · asinh(v / eased)`; at 0, nothing."""
    return (lambda v: eased * torch.asinh(v / eased)) if eased else (lambda v: v)


def interpolate(knots: Tensor, rate: Tensor) -> Tensor:
    """Read a table of per-rate vectors between its knots, linearly.

    Args:
        knots: (rows, C), any float dtype; KNOTS rows for each tune.
        rate: (B,), or (B, H/64, W/64) where there is a quality map: positions between the knots, float or integer
            (`nicodec.rate.scale`: 0..65535, and the tune).

    Returns:
        (B, C, 1, 1) or (B, C, H/64, W/64); `spread` makes it fit feature maps.
    """
    position = rate.to(knots.dtype) / KNOT_SPACING
    low = position.floor().clamp(0, len(knots) - 2)
    weight = (position - low)[..., None]
    index = low.long()
    vectors = (1 - weight) * knots[index] + weight * knots[index + 1]
    return vectors[:, :, None, None] if rate.ndim == 1 else vectors.permute(0, 3, 1, 2)


def spread(vectors: Tensor, like: Tensor) -> Tensor:
    """Vectors of `interpolate` for the feature maps `like` (B, C, H, W): each repeated over its block of 64 pixels."""
    if vectors.shape[2:] in ((1, 1), like.shape[2:]):
        return vectors
    return F.interpolate(vectors, like.shape[2:], mode="nearest")


class RateScale(nn.Module):
    """Multiply channels by a learned function of the rate; starts as the identity."""

    def __init__(self, channels: int, rows: int = KNOTS) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        return x * spread(interpolate(self.log_scale, rate).exp().to(x.dtype), x)


class RateBias(nn.Module):
    """Add a learned function of the rate to each channel; starts as nothing."""

    def __init__(self, channels: int, rows: int = KNOTS) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        return x + spread(interpolate(self.bias, rate).to(x.dtype), x)
