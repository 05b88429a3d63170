"""The scale path while it is trained: the float twin of `nicodec.entropy.scales`, layer for layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.entropy.order import Pass, passes
from nicodec.entropy.tables import SCALE_LEVELS, SCALE_MAX, SCALE_MIN
from nicodec.networks.layers import Pointwise, RateBias, interpolate, zero_init
from nicodec.rate.scale import KNOTS

LOG_MIN = math.log(SCALE_MIN)
LOG_MAX = math.log(SCALE_MAX)
LOG_STEP = (LOG_MAX - LOG_MIN) / (SCALE_LEVELS - 1)
ACTIVATION_MAX = 127.0  # what int16 with 8 fractional bits holds


def rectify(x: Tensor) -> Tensor:
    """ReLU with the ceiling that the integer activations have."""
    return x.clamp(0.0, ACTIVATION_MAX)


def magnitude(symbols: Tensor) -> Tensor:
    """What the scale networks see of a symbol: log2(1 + |s|), s limited to 255."""
    return torch.log2(1 + symbols.abs().clamp_max(255.0))


class ScaleHyper(nn.Module):
    """z_hat (B, N, H/64, W/64) -> integer-path hyper features (B, w, H/16, W/16).

    ::

        z_hat ─ 1x1 + rate, shuffle 2 ─ relu ─ depthwise 3x3 ─ relu ─ 1x1, shuffle 2 ─ relu ─►
    """

    def __init__(self, hyper: int, width: int, rows: int) -> None:
        super().__init__()
        self.embed = Pointwise(hyper, 2 * width)
        self.embed_rate = RateBias(2 * width, rows)
        self.mix = nn.Conv2d(width // 2, width // 2, 3, padding=1, groups=width // 2)
        self.grow = Pointwise(width // 2, 4 * width)

    def forward(self, z_hat: Tensor, rate: Tensor) -> Tensor:
        z_hat = z_hat.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
        features = rectify(F.pixel_shuffle(self.embed_rate(self.embed(z_hat), rate), 2))
        return rectify(F.pixel_shuffle(self.grow(rectify(self.mix(features))), 2))


class ScalePass(nn.Module):
    """Hyper features and magnitudes of decoded symbols -> log-scales of one slice.

    ::

        [features, magnitudes] ─ 1x1 + rate ─ relu ─ depthwise 3x3 ─ relu ─ 1x1 ─ relu ─ 1x1 + rate ─► log-scales
    """

    def __init__(self, width: int, known: int, out: int, rows: int) -> None:
        super().__init__()
        self.embed = Pointwise(width + known, width)
        self.embed_rate = RateBias(width, rows)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.hidden = Pointwise(width, width)
        self.head = zero_init(Pointwise(width, out))
        self.head_rate = RateBias(out, rows)

    def forward(self, known: Tensor, rate: Tensor) -> Tensor:
        features = rectify(self.embed_rate(self.embed(known), rate))
        features = rectify(self.hidden(rectify(self.mix(features))))
        return self.head_rate(self.head(features).float(), rate)


class Scales(nn.Module):
    """All scale networks: log-scales of z (a table over the rate) and of every pass over y."""

    def __init__(self, latent: int, hyper: int, width: int, slices: int, rows: int = KNOTS) -> None:
        super().__init__()
        self.z_log_scale = nn.Parameter(torch.ones(rows, hyper))
        self.hyper = ScaleHyper(hyper, width, rows)
        self.steps = nn.ModuleList(
            [ScalePass(width, step.known, latent // slices, rows) for step in passes(latent, slices)]
        )

    @torch.no_grad()
    def start_from(self, log_std: Tensor, log_gain: Tensor) -> None:
        """Start at the spread of the linear transform: log-scale = log std + log gain, a channel and a rate each."""
        self.shift(slice(None), log_std + log_gain)

    @torch.no_grad()
    def shift(self, rows: slice, by: Tensor) -> None:
        """Add to the log-scales of y in some rows of the tables over the rate: (M,), or a vector a row."""
        for step, net in zip(passes(by.shape[-1], len(self.steps) // 2), self.steps, strict=True):
            assert isinstance(net, ScalePass)
            net.head_rate.bias[rows] += by[..., step.start : step.stop]

    def z(self, rate: Tensor) -> Tensor:
        """Log-scales of z: (B, N, 1, 1), or (B, N, H/64, W/64) where there is a quality map."""
        return interpolate(self.z_log_scale, rate)

    def y(self, features: Tensor, known: Tensor, step: Pass, rate: Tensor) -> Tensor:
        """Log-scales of the slice of `step` (B, M/slices, H/16, W/16).

        Args:
            features: hyper features (B, w, H/16, W/16).
            known: `magnitude` of the symbols so far (B, M, H/16, W/16), zero where not yet decoded.
        """
        seen = torch.cat([features, known[:, : step.known].to(features.dtype)], 1)
        log_scales: Tensor = self.steps[step.index](seen, rate)
        return log_scales


class _Limit(torch.autograd.Function):
    """Clamp that still lets a gradient through where it points back inside."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        blocked = ((x < ctx.low) & (grad > 0)) | ((x > ctx.high) & (grad < 0))
        return grad.masked_fill(blocked, 0.0), None, None


def gaussian_bits(value: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of `value` in a zero-mean Gaussian integrated over unit bins, elementwise, in float32.

    Args:
        value: symbols (rounded, or with uniform noise), any shape.
        log_scale: natural logarithm of the standard deviation; limited to what the stored tables hold.
    """
    scale = _Limit.apply(log_scale.float(), LOG_MIN, LOG_MAX).exp()
    value = value.float().abs()
    upper, lower = (0.5 - value) / scale, (-0.5 - value) / scale
    mass = 0.5 * (torch.erfc(-upper * 2**-0.5) - torch.erfc(-lower * 2**-0.5))
    return -torch.log2(mass.clamp_min(1e-9))
