"""Stage `trust`: on a frozen base, what is the mean of y, given what aligned references say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.latents.geometry import BLOCK
from nicodec.networks.base import Base
from nicodec.networks.layers import Pointwise, spread, zero_init
from nicodec.networks.trust import Trust, TrustConfig
from nicodec.training.data import Pictures
from nicodec.training.latents import OwnLatents
from nicodec.training.second_shots import second_shots
from nicodec.training.sq import file_rates, mask_of, random_rates, to_tensor
from nicodec.training.stage import Stage

DEAD = 0.1  # of a step: symbols are further from zero than plain rounding has them, as worth their bits
WORTH = 0.8  # share of the bits of y alone that y has at most beside a reference, where that is trusted at all
QUIET = 0.5  # the same, of the blocks of which z says nothing
RATES = 3  # that each pair is seen at: what takes time is to make one
LEAST_BITS = 10.0  # of a position: what shares of gains are counted of, at least
ROUNDING = 1 / 12  # the variance that rounding adds
HEAVY = 3  # degrees of freedom of Student's distribution: tails that bits of real tables have, too
LEAST_LOG = -4.0  # of what is left of y, in steps: from there on nothing is to be gained


class Trusting(nn.Module):
    """Trust, and how much it leaves, which is needed in training only."""

    def __init__(self, config: TrustConfig) -> None:
        super().__init__()
        self.trust = Trust(config)
        part = config.latent // config.slices
        self.log_left = nn.ModuleList([zero_init(Pointwise(config.width, part)) for _ in self.trust.steps])

    @property
    def config(self) -> TrustConfig:
        """The trust's."""
        return self.trust.config


@dataclass(frozen=True)
class Pair:
    """A batch and its references, in quantiser steps: y, y_ref (B, told, h, w), at rates as `interpolate` takes them.

    Attributes:
        hyper: the mean path's features of z_hat (B, context, h, w), which says nothing where the reference does.
    """

    y: Tensor
    y_ref: Tensor
    rate: Tensor
    hyper: Tensor

    @property
    def plain(self) -> Tensor:
        """Bits of y around y_ref, as far as theory tells: (B, h, w)."""
        return bits(self.y - self.y_ref)

    @property
    def worth(self) -> Tensor:
        """1 where a reference saves bits (B, h, w), else 0."""
        return (self.plain < WORTH * bits(self.y)).float()


class TrustStage(Stage):
    """Stage `trust`: the bits of what means leave of y, by a distribution that is as wide as the module says.

    Only where a reference is worth it; elsewhere an encoder would not take it.
    """

    name = "trust"
    module: Trusting

    def __init__(self, config: TrustConfig, base: Base) -> None:
        self.module = Trusting(config)
        self.base = base

    @torch.no_grad()
    def start(self, pictures: Pictures) -> None:
        """What is left of y starts as what is left by y_ref as it stands."""
        left = []
        for _ in range(8):
            pair = self.pair(pictures.batch(4, min(256, pictures.least // 64 * 64)))
            left.append((pair.y - pair.y_ref).square().mean((0, 2, 3)))
        log_left = (0.5 * torch.stack(left).mean(0).log()).clamp_min(LEAST_LOG)
        for step, head in zip(self.module.trust.steps, self.module.log_left, strict=True):
            assert isinstance(head, Pointwise)
            assert head.bias is not None
            head.bias.copy_(log_left[step.start : step.stop])

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1: bits, relative to those around y_ref."""
        pair = self.pair(x)
        found, plain, worth = self.bits(self.module, pair), pair.plain, pair.worth
        count = worth.sum().clamp_min(1)
        loss = (found / (plain + LEAST_BITS) * worth).sum() / count
        said = {"bits": found.detach(), "plain": plain}
        return loss, {name: float((each * worth).sum() / count) for name, each in said.items()}

    @torch.no_grad()
    def pair(self, x: Tensor) -> Pair:
        """Crops x (B, 3, H, W), 0..1, beside other shots of what they show; each at RATES rates."""
        base = self.base
        with torch.autocast(x.device.type, enabled=False):
            own, other = second_shots(x, self.developed)
            own, other = (base.g_a(each).repeat(RATES, 1, 1, 1) for each in (own, other))
            rate = to_tensor(file_rates(random_rates(len(own)), x.repeat(RATES, 1, 1, 1), base.config.tunes), x)
            gain = spread(base.gain(rate), own)
            y, z_hat = base.scaled(own, rate)
            y_ref = other * gain
            by_block = [F.avg_pool2d(each[:, None], BLOCK) for each in (bits(y - y_ref), bits(y))]
            hyper = base.means.features(z_hat * (by_block[0] > QUIET * by_block[1]), rate)
        told = self.module.trust.steps[-1].stop
        return Pair(y[:, :told], y_ref[:, :told], rate, hyper)

    def developed(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) as a decoder has them, coded at any rate, by plain rounding."""
        rate = to_tensor(file_rates(random_rates(len(x)), x, self.base.config.tunes), x)
        x_hat = OwnLatents(self.base).code(x, rate).x_hat
        assert x_hat is not None
        return x_hat.clamp(0, 1)

    def bits(self, module: Trusting, pair: Pair) -> Tensor:
        """Of y, at each position (B, h, w), with the symbols that make its y_hat as they would be."""
        trust, unit = module.trust, spread(self.base.unit(pair.rate)[:, : pair.y.shape[1]], pair.y)
        y_ref = pair.y_ref / unit
        off, total = torch.zeros_like(y_ref), 0.0
        for step in trust.steps:
            part, mask = slice(step.start, step.stop), mask_of(step, y_ref)
            features = trust.features(pair.hyper, y_ref, off, step, pair.rate)
            mean = trust.means(features, y_ref, step) * unit[:, part]
            rest = pair.y[:, part] - mean
            wide = (2 * module.log_left[step.index](features).float().clamp(LEAST_LOG, -LEAST_LOG)).exp() + ROUNDING
            nats = 0.5 * (wide / ROUNDING).log() + (HEAVY + 1) / 2 * (1 + rest.square() / (HEAVY * wide)).log()
            total = total + (nats * mask).sum(1) / math.log(2)
            with torch.no_grad():
                y_hat = mean + rest.sign() * (rest.abs() + 0.5 - DEAD).floor()
                off = off.clone()
                off[:, part] += (y_hat / unit[:, part] - y_ref[:, part]) * mask
        assert isinstance(total, Tensor)
        return total

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """`bits` of positions where a reference is worth it, and of them around y_ref itself, `plain`.

        Of 32 pictures' corners of 256x256, at any rates.
        """
        assert isinstance(module, Trusting)
        torch.manual_seed(0)
        sums = torch.zeros(3)
        for picture in pictures.some(32):
            pair = self.pair(picture[None, :, :256, :256].float() / 255)
            found = self.bits(module, pair), pair.plain, torch.ones_like(pair.worth)
            sums += torch.stack([(each * pair.worth).sum() for each in found]).cpu()
        return {
            name: round(float(each / sums[2].clamp_min(1)), 2)
            for name, each in zip(("bits", "plain"), sums, strict=False)
        }


def bits(rest: Tensor) -> Tensor:
    """What coding maps (B, M, h, w), in quantiser steps, takes, about, were it known how large they are: (B, h, w)."""
    return 0.5 * (1 + rest.square() / ROUNDING).log2().sum(1)
