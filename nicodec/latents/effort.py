"""Rate-distortion-optimised quantisation (RDOQ): symbols that are worth their bits. Decoding is the same with any."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from nicodec.ahead import begun
from nicodec.entropy.coder import Indices, Latent
from nicodec.entropy.integer import BLAS_BUFFER
from nicodec.entropy.order import Pass
from nicodec.entropy.scales import ScaleModel, ScaleWalk
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import Array, Span, coarser, in_pixels
from nicodec.latents.rates import spread, to_rates
from nicodec.rate.scale import TUNE_SPACING, lambda_from_rate
from nicodec.rate.tile import TileRate

CORRECTIONS = (0, 0, 1, 2, 3, 4, 6, 10, 16)  # at efforts 1..9; effort 1 rounds plainly as well
BITS_PER_ERROR = 60.0  # what a squared quantiser step of error is worth in RDOQ; chosen on validation pictures
BITS_REFERRED = 10.0  # the same where references are the mean, of which symbols change little: near the theory below
AIMED = 0.25  # share of the positions without references from which on corrections are worth their time
LOOKED_UP = 64  # magnitudes whose bits are looked up; larger ones are rounded plainly
DAMPING = 0.5  # share of the way that a correction goes
CORRECTION_MAX = 0.5  # quantiser steps that a correction may go at once: g_s was not trained for more
CURVATURE = 2 * 4e-4 * 255**2 / 3  # of a tune's own error in bits, over y in its steps: their own theory, see `Base`


def encode_tile(
    base: FloatPath, scales: ScaleModel, x: Array, y: Array, z_hat: Array, rate: TileRate, core: Span, effort: int,
    expected: Expected | None = None,
) -> tuple[Latent, Array]:  # fmt: skip
    """The symbols of one tile, and the y_hat of its core that they make, in quantiser steps.

    Args:
        x: the tile and its halo (1, 3, H, W), float, 0..1, sides multiples of 64.
        y, z_hat: what `FloatPath.scaled` makes of it.
        rate: of the tile and its halo.
        core: rows and columns of the latent that are the tile's own.
        effort: 1..9.
        expected: means that references give.
    """
    motion = None if expected is None else expected.motion
    own_rate = rate.cut(*coarser(core))
    classes = None if motion is None else motion.classes
    rounding = None if effort == 1 else ThriftyRounding(base, scales, z_hat, own_rate, classes)
    own = y[:, :, core[0], core[1]]
    if rounding:
        rounds = CORRECTIONS[effort - 1] if classes is None or (classes == 0).mean() >= AIMED else 0
        own = correct(base, rounding, x, y, z_hat, rate, core, rounds, expected)
    symbols, y_hat = base.quantise(own, z_hat, to_rates(own_rate), rounding, expected)
    indices = tuple(rounding.indices) if rounding else None
    return Latent(to_array(z_hat), to_array(symbols), own_rate, indices, motion), y_hat


def correct(
    base: FloatPath, rounding: ThriftyRounding, x: Array, y: Array, z_hat: Array, rate: TileRate, core: Span,
    count: int, expected: Expected | None = None,
) -> Array:  # fmt: skip
    """Refine y before it is quantised, against the errors that all other symbols make in the picture.

    Each round decodes y_hat, takes the gradient of the error there, and makes a damped Newton step from it. Where g_s
    were linear with orthogonal columns, y would stay; as it is not, errors of neighbours can cancel. Where a step made
    error and bits together larger, half of it is tried. The error is the squared one in any tune, each block's weighted
    with its own lambda.

    Args:
        y: of the tile and its halo (1, M, H/16, W/16), in quantiser steps; the halo stays and stands for neighbours.
        count: rounds, each about as long as a decode and a half.
        expected: means that references give.

    Returns:
        y of the core, in quantiser steps.
    """
    own = best = y[:, :, core[0], core[1]]
    if count == 0:
        return own
    rates, own_rates = to_rates(rate), to_rates(rounding.rate)
    ungain = spread(base.ungain(rates), y)
    own_ungain = ungain if ungain.shape[2:] == (1, 1) else ungain[:, :, core[0], core[1]]
    # Squared error is what the steps of tune `psnr` were made for: along larger ones it curves more.
    curvature = np.float32(CURVATURE) * np.square(spread(base.coarseness(own_rates), own))
    around, weight = y * ungain, np.zeros((1, 1, *x.shape[2:]), np.float32)
    inside = weight[:, :, *in_pixels(core)]
    inside[:] = spread(worth(rounding.rate, base.lambda_max), inside)
    step, damping, least = np.zeros_like(own), DAMPING, float("inf")
    aimed = np.float32(1) if expected is None else ~expected.where  # a reference shows more than symbols can correct
    for _ in range(count):
        _, y_hat = base.quantise(own, z_hat, own_rates, rounding, expected)
        around[:, :, core[0], core[1]] = y_hat * own_ungain
        error, gradient = base.networks("g_s_gradient", around, x, weight, rates)
        cost = float(error[0]) + rounding.bits
        if cost < least:  # not so where it is not a number, too
            least, best = cost, own
            slope = gradient[:, :, core[0], core[1]] * own_ungain
            step = (y_hat - slope / curvature - own).clip(-CORRECTION_MAX, CORRECTION_MAX) * aimed
        else:
            damping /= 2
        own = best + np.float32(damping) * step
    return own


def worth(rate: TileRate, highest: float) -> Array:
    """Bits that a squared error of 1 (of samples 0..1) is worth: (1, 1, 1, 1), or with a map (1, 1, h/64, w/64)."""
    at = np.atleast_2d(rate.knots()) % TUNE_SPACING
    lambdas = [[lambda_from_rate(block, highest) for block in row] for row in at.tolist()]
    return np.array(lambdas, np.float32)[None, None] * np.float32(255**2 / 3)


class ThriftyRounding:
    """RDOQ: of the two symbols nearest to a residual, the one of less error and bits, with the bits of the real tables.

    It follows the coder's passes, because a pass's scales depend on the symbols chosen before. What a symbol does
    to the scales and means of later ones is not counted: BITS_PER_ERROR, above what theory says, makes up for it.
    Flat colours are rounded plainly: where all else is flat, neighbours would err alike, and a sky get blotches of hue.
    Good for any number of walks over the passes; the first pass of each forgets the walk before. `bits` is what the
    symbols of the last walk cost, y's alone; `cost_map` has it by position, with the error that they leave.
    The scale indices of a pass are found while networks find its means.
    """

    def __init__(
        self, base: FloatPath, scales: ScaleModel, z_hat: Array, rate: TileRate,
        classes: NDArray[np.uint8] | None = None,
    ) -> None:  # fmt: skip
        self.rate, self.walk = rate, ScaleWalk(scales, to_array(z_hat), rate, classes)
        self.costs = scales.tables[self.rate.tune].costs(LOOKED_UP)
        self.savings = np.diff(self.costs, axis=1, prepend=self.costs[:, :1])  # of magnitude k - 1 in place of k
        self.thrifty = ~base.flat
        self.bits = 0.0
        self.worths = np.full((*self.walk.shape, 1), BITS_PER_ERROR, np.float32)
        if classes is not None:
            self.worths[classes > 0] = BITS_REFERRED
        self.cost_map = np.zeros(self.walk.shape)  # bits and the tune's own error, in bits
        self.indices: list[Indices] = []
        self._first = self._next = begun(partial(self.walk.indices, scales.passes[0]), each=BLAS_BUFFER)

    def __call__(self, step: Pass, residual: Array) -> Array:
        """Residuals of a pass (1, M/slices, H, W) to its symbols; zeros at positions of the other parity."""
        if step.index == 0:
            self.indices.clear()
            self.bits = 0.0
            self.cost_map[:] = 0
            self._next = self._first
        mask, indices = self.walk.mask(step), self._next()
        self.indices.append(indices)
        rest = np.moveaxis(residual[0], 0, 2)[mask]
        symbols, added = self.chosen(indices, rest, mask, slice(step.start, step.stop))
        self.walk.tell(step, symbols.astype(np.int16))
        for following in self.walk.model.passes[step.index + 1 : step.index + 2]:
            self._next = begun(partial(self.walk.indices, following), each=BLAS_BUFFER)
        placed = np.zeros((*mask.shape, symbols.shape[1]), np.float32)
        placed[mask] = symbols + added
        return np.moveaxis(placed, 2, 0)[None]

    def chosen(
        self, indices: Indices, rest: Array, mask: NDArray[np.bool_], part: slice
    ) -> tuple[Array, Array | np.float32]:
        """The symbols of a pass (n, m), of what they cost note taken.

        Args:
            indices: scale indices.
            rest: residuals.
            mask: which positions they are at.
            part: which components of y they are of.

        Returns:
            Symbols, and what their means have on top of the walk's.
        """
        magnitude, bits, error = self.weigh(indices, rest, self.worths[mask], part)
        self.bits += float(bits.sum())
        self.cost_map[mask] += bits + CURVATURE / 2 * error
        return np.copysign(magnitude, rest), np.float32(0)

    def weigh(
        self, indices: Indices, rest: Array, worths: Array, part: slice
    ) -> tuple[Array, NDArray[np.float64], NDArray[np.float64]]:
        """Magnitudes, and of each position (n,) their bits and squared error. `worths`: of errors (n, 1)."""
        whole = np.abs(rest) + np.float32(0.5)
        tables = indices.astype(np.intp) * LOOKED_UP
        saved = self.savings.take(tables + np.minimum(whole, LOOKED_UP - 1).astype(np.intp)) * self.thrifty[part]
        magnitude = np.floor(whole - saved / (2 * worths))
        bits = self.costs.take(tables + np.minimum(magnitude, LOOKED_UP - 1).astype(np.intp))
        return magnitude, bits.sum(1, np.float64), np.square(np.abs(rest) - magnitude).sum(1, np.float64)


def to_array(maps: Array) -> NDArray[np.int16]:
    """Whole numbers (1, C, H, W) as the coder takes them: (H, W, C) int16."""
    return np.ascontiguousarray(np.moveaxis(maps[0], 0, 2)).astype(np.int16)
