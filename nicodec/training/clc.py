"""Stage `clc`: what references are worth to the frozen base."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nicodec.dictionary.asset import Dictionary
from nicodec.dictionary.conditioning import AUTO_COUNT
from nicodec.dictionary.features import describe
from nicodec.entropy.order import passes
from nicodec.entropy.scales import ScaleModel, ScaleWalk
from nicodec.latents.effort import to_array
from nicodec.networks.base import Base
from nicodec.networks.clc import CLC, PATHS, CLCConfig
from nicodec.networks.layers import spread
from nicodec.rate.tile import TileRate
from nicodec.training.data import Pictures
from nicodec.training.scales import LOG_MIN, LOG_STEP, gaussian_bits
from nicodec.training.sq import (
    Outcome,
    file_rates,
    insert,
    least_of,
    loss,
    mask_of,
    psnr,
    random_low_rates,
    round_through,
    to_tensor,
)
from nicodec.training.stage import Stage


class Coding(nn.Module):
    """The frozen base, and the integer path that its files are coded with, as one differentiable codec.

    The scales are those of the symbols that a file would hold, and have no gradient.
    """

    def __init__(self, base: Base, scales: ScaleModel) -> None:
        super().__init__()
        self.base, self.scales = base, scales

    def forward(self, y: Tensor, z_hat: Tensor, rate: TileRate) -> Outcome:
        """Code y (1, M, h, w) in quantiser steps."""
        base, rates = self.base, to_tensor([rate], y)
        unit, ungain = spread(base.unit(rates), y), spread(base.ungain(rates), y)
        features, y_hat = base.means.features(z_hat, rates), torch.zeros_like(y)
        walk = ScaleWalk(self.scales, to_array(z_hat.cpu().numpy()), rate)
        bits = y.new_zeros(1)
        for step in passes(base.config.latent, base.config.slices):
            mask, part = mask_of(step, y), slice(step.start, step.stop)
            at = mask.bool().cpu().numpy()
            index = np.zeros((*at.shape, part.stop - part.start), np.float32)
            index[at] = walk.indices(step)
            log_scale = torch.from_numpy(index).permute(2, 0, 1)[None].to(y.device) * LOG_STEP + LOG_MIN
            residual = y[:, part] - base.means(features, y_hat / unit, step, rates) * unit[:, part]
            noisy = residual + torch.rand_like(residual) - 0.5 if self.training else residual.round()
            bits = bits + (gaussian_bits(noisy, log_scale) * mask).sum((1, 2, 3))
            mean = y[:, part] - residual
            y_hat = insert(y_hat, (round_through(residual) + mean) * mask, part)
            walk.tell(step, to_array(residual.detach().round().cpu().numpy())[at])
        return Outcome(base.g_s(y_hat * ungain, rates), torch.zeros_like(bits), bits)


class CLCStage(Stage):
    """Stage `clc` for the training loop: the references of each crop are those that search finds."""

    name = "clc"
    module: CLC

    def __init__(self, config: CLCConfig, base: Base, scales: ScaleModel, dictionary: Dictionary) -> None:
        self.module = CLC(config, base)
        self.least = least_of(base.config)
        self.base, self.coding, self.dictionary = base, Coding(base, scales), dictionary

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Rate-distortion loss of a batch (B, 3, H, W), 0..1, each with 1 to AUTO_COUNT of its references."""
        config = self.base.config
        rates = file_rates(random_low_rates(len(x)), x, config.tunes)
        counts = torch.randint(1, AUTO_COUNT + 1, (len(x),)).tolist()
        pictures = zip(torch.split(x, 1), rates, counts, strict=True)
        outcomes = [self.code(self.module, *each) for each in pictures]
        outcome = Outcome(*(torch.cat([getattr(o, name) for o in outcomes]) for name in ("x_hat", "z_bits", "y_bits")))
        bpp = outcome.bits.mean().item() / (x.shape[2] * x.shape[3])
        return loss(outcome, x, to_tensor(rates, x), config), {"bpp": bpp, "psnr": psnr(outcome.x_hat, x)}

    def code(self, module: CLC, x: Tensor, rate: TileRate, count: int) -> Outcome:
        """One picture (1, 3, H, W) with its `count` best references."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            y = self.base.g_a(x)
            found = self.dictionary.search(describe(y.cpu().numpy(), self.base.std.cpu().numpy())[0], count)
            y, z_hat = self.base.scaled(y, to_tensor([rate], x))
        levels = torch.from_numpy(self.dictionary.levels([match.id for match in found]))
        return self.coded(module, levels.to(x.device), y, z_hat, rate)

    def coded(self, module: CLC, levels: Tensor, y: Tensor, z_hat: Tensor, rate: TileRate) -> Outcome:
        """A latent (1, M, h, w) in quantiser steps, coded with references (n, CHANNELS, SIDE, SIDE), -1..1."""
        c = module.latent(levels)
        changed = {
            f"base.{path}.{name}": weight
            for path in PATHS
            for name, weight in module.weights(getattr(self.base, path), path, c).items()
        }
        outcome: Outcome = functional_call(self.coding, changed, (y, z_hat, rate))
        return outcome

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """(bits of y a pixel, PSNR) means at four rates of each tune, without and with references, over 16 pictures."""
        assert isinstance(module, CLC)
        self.coding.eval()
        figures: dict[str, list[list[float]]] = {"off": [], "on": []}
        for tune, value in product(range(self.base.config.tunes), (0, 8192, 16384, 24576)):
            rate = TileRate(value, tune)
            rows: dict[str, list[tuple[float, float]]] = {name: [] for name in figures}
            for picture in pictures.some(16):
                x = picture[None, :, :512, :512].float() / 255
                plain = self.coding(*self.base.transform(x, to_tensor([rate], x)), rate)
                for name, outcome in {"off": plain, "on": self.code(module, x, rate, AUTO_COUNT)}.items():
                    rows[name].append((outcome.bits.item() / x[0, 0].numel(), psnr(outcome.x_hat, x)))
            for name, entries in rows.items():
                figures[name].append([round(sum(column) / len(entries), 4) for column in zip(*entries, strict=True)])
        self.coding.train()
        return figures
