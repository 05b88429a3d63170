"""What an encoder can do better than rounding: symbols that are worth their bits. Decoders never know."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nicodec.entropy.coder import Indices, Latent
from nicodec.entropy.order import Pass, checkerboard
from nicodec.entropy.scales import ScaleModel
from nicodec.networks.base import Base
from nicodec.networks.layers import PATCH
from nicodec.rate.scale import lambda_from_rate
from nicodec.rate.tile import TileRate

CORRECTIONS = (0, 0, 1, 2, 3, 4, 6, 10, 16)  # at efforts 1..9; effort 1 rounds plainly as well
WORTH = 60.0  # bits that a squared quantiser step of error is worth when rounding; chosen on validation pictures
MAGNITUDES = 64  # that are looked up; larger ones are rounded plainly
DAMPING = 0.5  # share of the way that a correction goes
LEASH = 0.5  # quantiser steps: no correction goes further at once; far off, g_s does what it was never trained for
CURVATURE = 2 * 4e-4 * 255**2 / 3  # of the error in bits, over y in quantiser steps: the steps' own theory, see `Base`


def encode_tile(
    base: Base, scales: ScaleModel, x: Tensor, y: Tensor, z_hat: Tensor, rate: int, core: tuple[slice, slice],
    effort: int,
) -> Latent:  # fmt: skip
    """The symbols of one tile.

    Args:
        x: the tile and its halo (1, 3, H, W), float, 0..1, sides multiples of 64.
        y, z_hat: what `Base.transform` makes of it.
        rate: 0..65535.
        core: rows and columns of the latent that are the tile's own.
        effort: 1..9.
    """
    rates = torch.tensor([float(rate)], device=x.device)
    rounding = None if effort == 1 else ThriftyRounding(base, scales, z_hat, rate)
    own = y[:, :, core[0], core[1]]
    if rounding:
        own = correct(base, rounding, x, y, z_hat, rate, core, CORRECTIONS[effort - 1])
    with torch.no_grad():
        symbols, _ = base.quantise(own, z_hat, rates, rounding)
    indices = tuple(rounding.indices) if rounding else None
    return Latent(to_array(z_hat), to_array(symbols), TileRate(rate), indices)


def correct(
    base: Base, rounding: ThriftyRounding, x: Tensor, y: Tensor, z_hat: Tensor, rate: int, core: tuple[slice, slice],
    count: int,
) -> Tensor:  # fmt: skip
    """Aim y anew: at what, added to the errors that all other symbols make, gives the picture back.

    Each round decodes y_hat, takes the gradient of the error there, and makes a damped Newton step from it. Where g_s
    were linear with orthogonal columns, the aim would stay y; as it is not, errors of neighbours can cancel. Where a
    step made error and bits together larger, half of it is tried.

    Args:
        y: of the tile and its halo (1, M, H/16, W/16), in quantiser steps; the halo stays and stands for neighbours.
        count: rounds, each about as long as a decode and a half.

    Returns:
        y of the core, in quantiser steps.
    """
    rates = torch.tensor([float(rate)], device=x.device)
    rows, columns = (slice(PATCH * s.start, PATCH * s.stop) for s in core)
    bits_per_error = lambda_from_rate(rate, base.config.lambda_max) * 255**2 / 3
    own = best = y[:, :, core[0], core[1]]
    step, damping, least = torch.zeros_like(own), DAMPING, float("inf")
    for _ in range(count):
        with torch.no_grad():
            _, y_hat = base.quantise(own, z_hat, rates, rounding)
        y_hat.requires_grad_()
        with torch.enable_grad():
            around = y.clone()
            around[:, :, core[0], core[1]] = y_hat
            x_hat = base.g_s(around * base.ungain(rates), rates)
            error = (x_hat - x)[:, :, rows, columns].square().sum() * bits_per_error
        cost = error.item() + rounding.bits
        if cost < least:  # not so where it is not a number, too
            least, best = cost, own
            (gradient,) = torch.autograd.grad(error, y_hat)
            step = (y_hat.detach() - gradient / CURVATURE - own).clamp(-LEASH, LEASH)
        else:
            damping /= 2
        own = best + damping * step
    return own


class ThriftyRounding:
    """Choose between the two symbols nearest to a residual by error and bits, with the bits of the real tables.

    It follows the coder's passes, because a pass's scales depend on the symbols chosen before. What a symbol does
    to the scales and means of later ones is not counted: WORTH, above what theory says, makes up for it.
    Flat colours are rounded plainly: where all else is flat, neighbours would err alike, and a sky get blotches of hue.
    Good for any number of walks over the passes; the first pass of each forgets the walk before. `bits` is what the
    symbols of the last walk cost, y's alone.
    """

    def __init__(self, base: Base, scales: ScaleModel, z_hat: Tensor, rate: int) -> None:
        self.scales, self.rate = scales, TileRate(rate)
        self.features = scales.features(to_array(z_hat), self.rate)
        self.costs = scales.tables[self.rate.tune].costs(MAGNITUDES)
        self.savings = np.diff(self.costs, axis=1, prepend=self.costs[:, :1])  # of magnitude k - 1 in place of k
        self.thrifty = ~base.flat.cpu().numpy()
        self.bits = 0.0
        self.symbols = np.zeros((*self.features.shape[:2], scales.latent), np.int16)
        self.indices: list[Indices] = []

    def __call__(self, step: Pass, residual: Tensor) -> Tensor:
        """Residuals of a pass (1, M/slices, H, W) to its symbols; zeros at positions of the other parity."""
        if step.index == 0:
            self.symbols[:] = 0
            self.indices.clear()
            self.bits = 0.0
        height, width, _ = self.symbols.shape
        mask = checkerboard(height, width, step.parity)
        indices = self.scales.y_indices(self.features, self.symbols, step, self.rate)
        self.indices.append(indices)
        rest = residual[0].permute(1, 2, 0).cpu().numpy()[mask]
        magnitude = np.abs(rest) + 0.5
        nearest = np.minimum(magnitude, MAGNITUDES - 1).astype(np.int64)
        part = slice(step.start, step.stop)
        saved = self.savings[indices, nearest] * self.thrifty[part]
        magnitude = np.floor(magnitude - saved / (2 * WORTH))
        self.bits += float(self.costs[indices, np.minimum(magnitude, MAGNITUDES - 1).astype(np.int64)].sum())
        self.symbols[mask, part] = np.copysign(magnitude, rest)
        symbols = torch.from_numpy(self.symbols[:, :, part].astype(np.float32))
        return symbols.permute(2, 0, 1)[None].to(residual.device)


def to_array(maps: Tensor) -> NDArray[np.int16]:
    """Whole numbers (1, C, H, W) as the coder takes them: (H, W, C) int16."""
    return maps[0].permute(1, 2, 0).cpu().numpy().astype(np.int16)
