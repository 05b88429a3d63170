"""Stage `sq`: the base and its scale path, trained together for rate and distortion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.container.layout import Tune
from nicodec.entropy.order import Pass, checkerboard, passes
from nicodec.latents.geometry import PATCH
from nicodec.latents.rates import to_rates
from nicodec.networks import klt
from nicodec.networks.base import Base, BaseConfig
from nicodec.networks.layers import spread
from nicodec.rate.scale import KNOTS, LAMBDA_MAX, LAMBDA_MIN, LEVEL_STEP, RATE_MAX, TUNE_SPACING
from nicodec.rate.tile import TileRate
from nicodec.training.data import Pictures
from nicodec.training.scales import Scales, gaussian_bits, magnitude
from nicodec.training.stage import Stage
from nicodec.training.visual import LEAST, SQUARED, visual_error

if TYPE_CHECKING:
    from nicodec.zoo.manifest import Part

MAPPED = 0.5  # share of the crops with a quality map, whose levels then have this standard deviation:
MAP_SPREAD = 2.5
MAP_LIMIT = 8
HEAVY = 2.0  # photographs lose 1 to 2


@dataclass(frozen=True)
class Outcome:
    """What a forward pass yields: x_hat (B, 3, H, W), and bits a picture (B,) for z and for y (estimates)."""

    x_hat: Tensor
    z_bits: Tensor
    y_bits: Tensor

    @property
    def bits(self) -> Tensor:
        """All bits of each picture: (B,)."""
        return self.z_bits + self.y_bits


class SQCodec(nn.Module):
    """Base and scale path as one differentiable codec.

    Uniform noise stands for rounding in the rate, straight-through rounding in what is decoded
    (the mixed scheme of DCVC). Symbols are seen by the scale path without a gradient.
    """

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.base = Base(config)
        self.scales = Scales(config.latent, config.hyper, config.scale_context, config.slices, config.rows)

    @property
    def config(self) -> BaseConfig:
        """The base's."""
        return self.base.config

    def start_from_klt(self, pictures: Pictures, batches: int = 40) -> None:
        """Make the codec a working transform codec before the first step (see `klt.start`)."""
        klt.start(self.base, _crops(pictures, batches))
        self.scales.start_from(self.base.std.log(), self.base.log_gain.detach())
        if self.base.config.tunes > 1:
            self.tilt()

    @torch.no_grad()
    def extend(self, first: int, pictures: Pictures, batches: int = 40) -> None:
        """Start the channels of y from `first` on, where all before them are trained (see `klt.extend`)."""
        klt.extend(self.base, first, _crops(pictures, batches))
        log_scales = self.base.std.log() + self.base.log_gain.detach()
        log_scales[:, :first] = 0
        self.scales.shift(slice(None), log_scales)

    @torch.no_grad()
    def tilt(self, first: int = 0) -> None:
        """Make the steps of tune `eye` coarser where frequencies are high: gains, and what is known of the symbols.

        `first`: of the channels that it is done to.
        """
        coarser = klt.tilt(self.base)
        coarser[:first] = 0
        self.base.log_gain[:KNOTS] -= coarser
        self.base.log_ungain[:KNOTS] += coarser
        self.scales.shift(slice(KNOTS), -coarser)

    def forward(self, x: Tensor, rate: Tensor) -> Outcome:
        """Code x (B, 3, H, W), 0..1, sides multiples of 64, at rates as in `interpolate`."""
        base = self.base
        y = base.g_a(x)
        unit, gain, ungain = (spread(of(rate), y) for of in (base.unit, base.gain, base.ungain))
        z = base.h_a(y / base.std[None, :, None, None], rate)
        z_bits = gaussian_bits(self._noisy(z), self.scales.z(rate)).sum((1, 2, 3))
        z_hat = round_through(z)
        mean_features = base.means.features(z_hat, rate)
        scale_features = self.scales.hyper(z_hat, rate)

        y = y * gain
        y_hat = torch.zeros_like(y)
        symbols = torch.zeros_like(y)
        y_bits = torch.zeros_like(z_bits)
        for step in passes(base.config.latent, base.config.slices):
            mask = mask_of(step, y)
            part = slice(step.start, step.stop)
            mean = base.means(mean_features, y_hat / unit, step, rate) * unit[:, part]
            log_scale = self.scales.y(scale_features, magnitude(symbols), step, rate)
            residual = y[:, part] - mean
            y_bits = y_bits + (gaussian_bits(self._noisy(residual), log_scale) * mask).sum((1, 2, 3))
            y_hat = insert(y_hat, (round_through(residual) + mean) * mask, part)
            symbols = insert(symbols, residual.detach().round() * mask, part)
        return Outcome(base.g_s(y_hat * ungain, rate), z_bits, y_bits)

    def _noisy(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x) - 0.5 if self.training else x.round()


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def mask_of(step: Pass, y: Tensor) -> Tensor:
    """The positions of a pass, 1 or 0, in the dtype of y (B, M, H, W): (H, W)."""
    return torch.from_numpy(checkerboard(y.shape[2], y.shape[3], step.parity)).to(y.device, y.dtype)


def insert(whole: Tensor, part: Tensor, where: slice) -> Tensor:
    """Add `part` to the channels `where` of `whole`, without writing into it."""
    return torch.cat([whole[:, : where.start], whole[:, where] + part, whole[:, where.stop :]], 1)


def random_rates(count: int) -> Tensor:
    """Rates (count,) drawn uniformly: lambda is log-uniform over its range. From torch's global CPU generator."""
    return torch.rand(count) * RATE_MAX


def random_low_rates(count: int) -> Tensor:
    """Rates (count,), more of them low, where quantisation takes most. From torch's global CPU generator."""
    return torch.rand(count) ** 2 * RATE_MAX


def random_maps(count: int, height: int, width: int, tunes: int) -> Tensor:
    """Rates (count, height/64, width/64) of crops, in the tunes by turns; every other picture has a quality map.

    From torch's global CPU generator.
    """
    levels = random_levels(count, height, width)
    rate = (random_rates(count)[:, None, None] + LEVEL_STEP * levels).clamp(0, RATE_MAX)
    return rate + (torch.arange(count) % tunes * TUNE_SPACING)[:, None, None]


def random_levels(count: int, height: int, width: int) -> Tensor:
    """Quality maps (count, height/64, width/64) of crops, whole numbers; of every other picture 0 everywhere."""
    levels = (torch.randn(count, height // 64, width // 64) * MAP_SPREAD).round().clamp(-MAP_LIMIT, MAP_LIMIT)
    return levels * (torch.rand(count, 1, 1) < MAPPED).float()


def file_rates(rates: Tensor, x: Tensor, tunes: int) -> list[TileRate]:
    """What files of crops x (B, 3, H, W) are coded at, at rates (B,).

    Where a base has several tunes, in any of these, and with the maps of `random_levels`, for its encoder chooses maps.
    From torch's global CPU generator.
    """
    whole = rates.int().tolist()
    if tunes == 1:
        return [TileRate(rate) for rate in whole]
    chosen = torch.randint(tunes, (len(x),)).tolist()
    levels = random_levels(len(x), *x.shape[2:]).short().numpy()
    return [TileRate(*each) for each in zip(whole, chosen, levels, strict=True)]


def to_tensor(rates: Sequence[TileRate], like: Tensor) -> Tensor:
    """Rates of crops, all with quality maps or none, as `interpolate` takes them, where `like` is."""
    return torch.from_numpy(np.concatenate([to_rates(rate) for rate in rates])).to(like.device)


def held_out_rates(tunes: int) -> tuple[int, ...]:
    """What the stages that stand on a base are validated at: five rates of each of its tunes."""
    return tuple(rate + TUNE_SPACING * tune for tune in range(tunes) for rate in (0, 8192, 16384, 24576, 40960))


def lambdas(rate: Tensor, highest: float = LAMBDA_MAX) -> Tensor:
    """`lambda_from_rate` for tensors; the tune in a rate makes no difference."""
    return LAMBDA_MIN * (highest / LAMBDA_MIN) ** (rate % TUNE_SPACING / RATE_MAX)


def loss(outcome: Outcome, x: Tensor, rate: Tensor, config: BaseConfig) -> Tensor:
    """`lambda · distortion + bpp` of each picture, over sqrt(lambda) so that no rate rules the gradient.

    Nor does a picture: what loses more than HEAVY counts as HEAVY. One-pixel checks, which the latent cannot hold, lose
    a hundred times what a photograph does.

    The distortion is `255^2 · MSE`, and `visual_error` in tune `eye` (the first, where there are several). With a
    quality map each block has its own lambda.
    """
    weight = lambdas(rate, config.lambda_max).reshape(len(x), 1, *rate.shape[1:] or (1, 1))
    eye = (rate.reshape(len(x), -1)[:, 0] < TUNE_SPACING) & (config.tunes > 1)
    plain = (outcome.x_hat - x).square().mean(1, keepdim=True) * 255**2
    distortion = _weighted(plain, weight)
    if eye.any():
        maps = visual_error(outcome.x_hat[eye], x[eye])
        seen = sum((share * _weighted(part, weight[eye]) for part, share in maps), torch.zeros(()))
        distortion = distortion.masked_scatter(eye, seen)
    bpp = outcome.bits / (x.shape[2] * x.shape[3])
    each = 0.1 * (distortion + bpp) / weight.log().mean((1, 2, 3)).mul(0.5).exp()
    return (each * (HEAVY / each.detach()).clamp_max(1.0)).mean()


def least_of(config: BaseConfig) -> int:
    """Pixels of a side that a crop must have for `loss`."""
    return 64 if config.tunes == 1 else LEAST


def _weighted(error: Tensor, weight: Tensor) -> Tensor:
    """The mean of an error map (B, 1, h, w), each place weighted by its block's lambda: (B,)."""
    return (error * F.interpolate(weight, error.shape[2:], mode="nearest")).mean((1, 2, 3))


def psnr(x_hat: Tensor, x: Tensor) -> float:
    """PSNR in dB over all of two batches 0..1, after rounding to 8 bits. RGB."""
    error = ((x_hat.clamp(0, 1) * 255).round() / 255 - x).square().mean().item()
    return -10 * math.log10(max(error, 1e-10))


def _crops(pictures: Pictures, batches: int) -> Tensor:
    side = min(256, pictures.least // PATCH * PATCH)
    return torch.cat([pictures.batch(8, side) for _ in range(batches)])


class SQStage(Stage):
    """Stage `sq` for the training loop."""

    name = "sq"
    module: SQCodec
    slow = ("klt", "lapping", "g_s.head")

    def __init__(self, config: BaseConfig, predecessor: Part | None = None) -> None:
        """`predecessor`: a base part to start as; None: start from the KLT."""
        self.module, self.predecessor = SQCodec(config), predecessor
        self.least = least_of(config)

    def start(self, pictures: Pictures) -> None:
        """Start as the predecessor is, or by the KLT of random crops of the training pictures."""
        if self.predecessor is None:
            self.module.start_from_klt(pictures)
        else:
            from nicodec.training.inherit import inherit  # it needs the entropy coder, which training else does not

            inherit(self.module, self.predecessor, pictures)

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Rate-distortion loss at a random rate for each picture; bpp and PSNR are means over the batch."""
        config = self.module.base.config
        rate = random_maps(len(x), x.shape[2], x.shape[3], config.tunes).to(x.device)
        outcome = self.module(x, rate)
        bpp = outcome.bits.mean().item() / (x.shape[2] * x.shape[3])
        z_share = (outcome.z_bits.sum() / outcome.bits.sum()).item()
        return loss(outcome, x, rate, config), {"bpp": bpp, "psnr": psnr(outcome.x_hat, x), "z_share": z_share}

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """Means at four rates of each tune, symbols rounded, bits estimated; over 16 pictures, 512x512 of each.

        Points are (bpp, PSNR), in tune `eye` (bpp, PSNR, structure that is lost, see `visual_error`).
        """
        figures: dict[str, Any] = {}
        tunes = self.module.base.config.tunes
        for tune in range(tunes):
            name = "psnr" if tunes == 1 else Tune(tune).name.lower()
            points = []
            for rate in (8192, 24576, 40960, 57344):
                rows = []
                for picture in pictures.some(16):
                    x = picture[None, :, :512, :512].float() / 255
                    outcome = module(x, torch.tensor([float(rate + tune * TUNE_SPACING)], device=x.device))
                    row = [outcome.bits.item() / x[0, 0].numel(), psnr(outcome.x_hat, x)]
                    if name == "eye":
                        _, *parts = visual_error(outcome.x_hat, x)
                        row.append(sum(share * error.mean().item() for error, share in parts) / (1 - SQUARED))
                    rows.append(row)
                means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
                points.append([round(mean, digits) for mean, digits in zip(means, (4, 3, 2), strict=False)])
            figures["bpp_psnr" if name == "psnr" else "eye"] = points
        return figures
