"""The base: analysis and synthesis transforms (g_a, g_s), the fidelity expert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.entropy.order import Pass, checkerboard, passes
from nicodec.entropy.tables import SYMBOL_MAX
from nicodec.latents.geometry import HALO, PATCH
from nicodec.networks.hyper import HyperAnalysis, Means
from nicodec.networks.lapping import Lapping
from nicodec.networks.layers import Pointwise, RateScale, easing, interpolate, spread, stack, zero_init
from nicodec.rate.scale import KNOTS, LAMBDA_MAX, LAMBDA_MIN, RATE_MAX, lambda_from_rate


@dataclass(frozen=True)
class BaseConfig:
    """Widths and depths of a base. All counts of channels, except the depths (blocks) and slices."""

    latent: int = 320  # M, channels of y at 1/16
    hyper: int = 64  # N, channels of z at 1/64
    wide_8: int = 96  # features at 1/8
    wide_16: int = 192  # features at 1/16
    depth_8: int = 2
    depth_16: int = 3
    slices: int = 2  # channel slices of y, each coded in two checkerboard passes
    context: int = 160  # features of the mean path (float)
    scale_context: int = 96  # features of the scale path (integer)
    context_depth: int = 1  # blocks of a pass of the mean path
    tunes: int = 1  # sets of gains, rate vectors and tables: what distortion was weighed against bits
    lambda_max: float = LAMBDA_MAX  # at quality 100
    eased: float = 0.0  # how many times the usual networks see as it is; saturated edges are a thousand times that

    def __post_init__(self) -> None:
        if self.depth_16 + (self.depth_8 + 1) / 2 > HALO - 1:
            raise ValueError(f"depths {self.depth_8} and {self.depth_16} see further than the halo of {HALO} positions")
        if self.lambda_max <= LAMBDA_MIN:
            raise ValueError(f"lambda_max is {self.lambda_max:g}, expected more than {LAMBDA_MIN:g}")
        if self.latent % self.slices:
            raise ValueError(f"{self.latent} channels of y do not make {self.slices} equal slices")

    @property
    def rows(self) -> int:
        """Of each table over the rate: KNOTS for each tune."""
        return KNOTS * self.tunes


class Analysis(nn.Module):
    """g_a: pixels to latent.

    ::

        x (B, 3, H, W) ─ minus 0.5 ─ lapping ─ unshuffle 16 ─ K (principal components of training patches) ─► y

    x in 0..1; y is (B, M, H/16, W/16) in natural units (a nearly orthonormal transform of x - 0.5). It is linear, and
    ours: a network beside K earned 0.2 % of the bits and overflowed on one-pixel checks. What it could do, the encoder
    does better by looking at g_s (`nicodec.latents.effort`).
    """

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.lapping = Lapping()
        self.klt = Pointwise(3 * PATCH**2, config.latent, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # bf16 would cost more than the quantiser at high rates
            return self.klt(F.pixel_unshuffle(self.lapping(x.float() - 0.5), PATCH))


class Synthesis(nn.Module):
    """g_s: latent to pixels: the inverse of `Analysis`, and a network that corrects what it makes.

    ::

        y_hat ─┬─ /spread ─ 1x1 ─ blocks 1/16 ─ 1x1, shuffle 2 ─(+)─ blocks 1/8 ─ 1x1 (zero at start), shuffle 8 ┐
               └─ K^T ─ shuffle 16 ─ lapping ─┬─ unshuffle 8 ─ 1x1 ──┘                                           │
                                              └─────────────────────────────────────────────────────────────────(+)─►

    y_hat (B, M, H/16, W/16) in natural units; x_hat (B, 3, H, W), about 0..1, not clamped. The network sees what the
    linear synthesis made.
    """

    spread: Tensor

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        c8, c16 = config.wide_8, config.wide_16
        self.ease = easing(config.eased)
        self.register_buffer("spread", torch.ones(config.latent))  # of y on the training patches
        self.klt_t = Pointwise(config.latent, 3 * PATCH**2, bias=False)
        self.lapping = Lapping()
        self.embed = Pointwise(config.latent, c16)
        self.coarse_rate = RateScale(c16, config.rows)
        self.coarse = stack(c16, config.depth_16)
        self.grow = Pointwise(c16, 4 * c8)
        self.look = zero_init(Pointwise(3 * 64, c8))
        self.fine_rate = RateScale(c8, config.rows)
        self.fine = stack(c8, config.depth_8 + 1)
        self.head = zero_init(Pointwise(c8, 3 * 64))

    def forward(self, y_hat: Tensor, rate: Tensor) -> Tensor:
        return self.from_linear(self.linear(y_hat), y_hat, rate)

    def from_linear(self, linear: Tensor, y_hat: Tensor, rate: Tensor) -> Tensor:
        """Pixels, where `linear` of y_hat is there already."""
        return self.picture(self.fine_features(self.coarse_features(y_hat, rate), linear, rate), linear)

    def linear(self, y_hat: Tensor) -> Tensor:
        """The linear synthesis alone: (B, 3, H, W), about -0.5..0.5."""
        with torch.autocast(y_hat.device.type, enabled=False):
            return self.lapping(F.pixel_shuffle(self.klt_t(y_hat.float()), PATCH))

    def adjoint(self, gradient: Tensor) -> Tensor:
        """A gradient by what `linear` makes (B, 3, H, W) to one by y_hat."""
        patches = F.pixel_unshuffle(self.lapping.adjoint(gradient), PATCH)
        return F.conv2d(patches, self.klt_t.weight.transpose(0, 1))

    def coarse_features(self, y_hat: Tensor, rate: Tensor, heard: Tensor | float = 0.0) -> Tensor:
        """Features at 1/16. `heard`: what else a decoder built on this one is conditioned on."""
        seen = self.ease(y_hat / self.spread[:, None, None])
        return self.coarse(self.coarse_rate(self.embed(seen) + heard, rate))

    def fine_features(self, features: Tensor, linear: Tensor, rate: Tensor) -> Tensor:
        """Features at 1/16, and what `linear` made -> features at 1/8."""
        features = F.pixel_shuffle(self.grow(features), 2) + self.ease(self.look(F.pixel_unshuffle(linear, 8)))
        return self.fine(self.fine_rate(features, rate))

    def picture(self, features: Tensor, linear: Tensor) -> Tensor:
        """Features at 1/8, and what `linear` made -> pixels."""
        return linear + self.mended(features) + 0.5

    def mended(self, features: Tensor) -> Tensor:
        """Features at 1/8 -> what is added to `linear`, (B, 3, H, W)."""
        return F.pixel_shuffle(self.head(features), 8).float()


class Base(nn.Module):
    """The float half of the SQ codec: g_a, g_s, h_a, the mean path and the gains.

    ::

        x ─► g_a ─► y ─► ·gain(rate) ─► minus means, round ─► symbols ─► plus means ─► /gain ─► y_hat ─► g_s ─► x_hat
                    └──► h_a ─► z ─► round ─► z_hat ─┬─► means (here, float)
                                                     └─► scales (nicodec.entropy, integer)

    The scale path, on which the entropy coder depends, is not here: it is integer arithmetic (FORMAT.md).
    """

    std: Tensor

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a = Analysis(config)
        self.g_s = Synthesis(config)
        self.h_a = HyperAnalysis(config.latent, config.hyper, config.rows, config.eased)
        self.means = Means(
            config.latent, config.hyper, config.context, config.slices, config.context_depth, config.rows, config.eased
        )
        lambdas = [lambda_from_rate(knot * RATE_MAX / (KNOTS - 1), config.lambda_max) for knot in range(KNOTS)]
        log_step = 0.5 * (4e-4 / torch.tensor(lambdas)).log().repeat(config.tunes)
        self.log_gain = nn.Parameter(-log_step[:, None].repeat(1, config.latent))  # high-rate theory
        self.log_ungain = nn.Parameter(log_step[:, None].repeat(1, config.latent))
        self.register_buffer("std", torch.ones(config.latent))  # of y on the training patches

    def gain(self, rate: Tensor) -> Tensor:
        """Natural units to quantiser steps: (B, M, 1, 1), or (B, M, H/64, W/64) with a quality map; positive."""
        return interpolate(self.log_gain, rate).exp()

    def ungain(self, rate: Tensor) -> Tensor:
        """Quantiser steps to natural units, as `gain`; learned apart from it."""
        return interpolate(self.log_ungain, rate).exp()

    def unit(self, rate: Tensor) -> Tensor:
        """About the spread of y in quantiser steps, as `gain`. The mean path works in these units."""
        return self.std[None, :, None, None] * self.gain(rate) + 0.1

    def natural(self, y: Tensor, rates: Tensor) -> Tensor:
        """What `transform` returns as y, back in units of its spread: what `h_a` and the tokens see."""
        return y / spread(self.gain(rates), y) / self.std[None, :, None, None]

    def correction_towards(self, x_hat: Tensor, y: Tensor) -> Tensor:
        """The correction of a picture x_hat (B, 3, H, W) towards the one whose latent is y (natural units).

        All linear: g_s removes quantisation error, and would remove texture that was never quantised as well.
        """
        return self.g_s.linear(y - self.g_a(x_hat))

    def transform(self, x: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder, first half: pixels to what is to be quantised. Of tiles with halos: `nicodec.latents.floats`.

        Args:
            x: (B, 3, H, W), float, 0..1, sides multiples of 64.
            rates: as in `interpolate`.

        Returns:
            y (B, M, H/16, W/16) in quantiser steps, not rounded, and z_hat (B, N, H/64, W/64), whole numbers.
        """
        return self.scaled(self.g_a(x), rates)

    def scaled(self, y: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """`transform` of what g_a made of the pixels already."""
        z = self.h_a(y / self.std[None, :, None, None], rates)
        return y * spread(self.gain(rates), y), z.round().clamp(-SYMBOL_MAX, SYMBOL_MAX)

    def quantise(self, y: Tensor, z_hat: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder, second half: decide on the symbols by rounding, pass by pass.

        Args:
            y: (B, M, h, w), in quantiser steps.
            z_hat: (B, N, h/4, w/4).
            rates: as in `interpolate`.

        Returns:
            Symbols and y_hat (B, M, h, w), both in quantiser steps.
        """

        def residual(step: Pass, mean: Tensor) -> Tensor:
            return (y[:, step.start : step.stop] - mean).round().clamp(-SYMBOL_MAX, SYMBOL_MAX)

        return self._passes(z_hat, rates, residual)

    @torch.inference_mode()
    def analyse(self, x: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """z_hat and symbols of whole tiles by plain rounding: `transform`, then `quantise`."""
        y, z_hat = self.transform(x, rates)
        return z_hat, self.quantise(y, z_hat, rates)[0]

    @torch.inference_mode()
    def reconstruct(self, z_hat: Tensor, symbols: Tensor, rates: Tensor) -> Tensor:
        """Decoder: symbols of tiles, as `analyse` returns them, to y_hat (B, M, h, w) in natural units, for g_s."""
        _, y_hat = self._passes(z_hat, rates, lambda step, _: symbols[:, step.start : step.stop])
        return y_hat * spread(self.ungain(rates), y_hat)

    def _passes(
        self, z_hat: Tensor, rates: Tensor, residual: Callable[[Pass, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Walk the passes: symbols from `residual`, y_hat = symbols + means (in quantiser steps)."""
        features = self.means.features(z_hat, rates)
        shape = (len(z_hat), self.config.latent, 4 * z_hat.shape[2], 4 * z_hat.shape[3])
        symbols, y_hat = torch.zeros(shape, device=z_hat.device), torch.zeros(shape, device=z_hat.device)
        unit = spread(self.unit(rates), y_hat)
        for step in passes(self.config.latent, self.config.slices):
            part = slice(step.start, step.stop)
            mask = torch.from_numpy(checkerboard(*shape[2:], step.parity)).to(z_hat.device)
            mean = self.means(features, y_hat / unit, step, rates) * unit[:, part]
            new = residual(step, mean)
            symbols[:, part] = torch.where(mask, new, symbols[:, part])
            y_hat[:, part] = torch.where(mask, new + mean, y_hat[:, part])
        return symbols, y_hat
