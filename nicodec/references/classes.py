"""How far each position of a tile trusts the references: classes by the bits that they save, and what z says then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nicodec.ahead import in_threads
from nicodec.entropy.coder import Indices
from nicodec.entropy.integer import BLAS_BUFFER
from nicodec.entropy.motion import CELLS, CLASSES, LOWERED, WHOLLY, Motion
from nicodec.entropy.scales import ScaleModel
from nicodec.latents.effort import CURVATURE, ThriftyRounding, to_array
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import BLOCK, Array, enlarged
from nicodec.latents.rates import spread, to_rates
from nicodec.rate.tile import TileRate

Costs = NDArray[np.float64]
Classes = NDArray[np.uint8]

ROUNDS = 3  # of the choice, in each of which positions see what their neighbours chose in the last one
EVERY = 0.5  # that each pair of neighbours is counted more than it was seen


@dataclass(frozen=True, eq=False)
class Weighed:
    """How far a tile trusts its references.

    Attributes:
        z_hat: what z says then (1, N, h, w).
        classes: of positions (4h, 4w).
        cost: of y and z in bits, error included, by the tables.
        alone: what both would cost without references.
    """

    z_hat: Array
    classes: Classes
    cost: float
    alone: float


def choose_classes(
    base: FloatPath, scales: ScaleModel, y: Array, z_hat: Array, rate: TileRate, found: Expected
) -> list[Weighed]:
    """What of z is said, and the classes, of least bits and error: as trust tells, if there is any, and without it.

    A block whose z is silent has no position in class 0: there, scales would be those of nothing.

    Args:
        y: of the tile (1, M, 4h, 4w), in quantiser steps.
        z_hat: what h_a makes of it.
        found: the tile's motion, in which every block has a source, and what it makes of y.
    """
    silent = np.zeros_like(z_hat)
    nowhere, everywhere = (np.full_like(found.motion.classes, each) for each in (0, 1))
    plain = ThriftyRounding(base, scales, z_hat, rate, nowhere)
    off = y - found.y * spread(base.gain(to_rates(rate)), y)
    doubting = found.trust is not None
    loud, quiet = (EveryClass(base, scales, z, rate, everywhere, off, doubting=doubting) for z in (z_hat, silent))
    walks = (z_hat, nowhere, plain), (z_hat, everywhere, loud), (silent, everywhere, quiet)

    def walk(which: int) -> None:
        z, classes, rounding = walks[which]
        trusting = replace(found, motion=replace(found.motion, classes=classes))
        base.quantise(y, z, to_rates(rate), rounding, trusting)

    list(in_threads(walk, range(len(walks)), each=BLAS_BUFFER))
    never = np.full_like(plain.cost_map, np.inf)
    z_bits = [_z_bits(scales, z, rate) for z in (z_hat, silent)]
    alone = float(plain.cost_map.sum() + z_bits[0].sum())

    def weighed(by_loud: Costs, by_quiet: Costs) -> Weighed:
        said = [_best(np.stack(costs)) for costs in ((plain.cost_map, *by_loud), (never, *by_quiet))]
        by_block = [_blocks(costs).sum((1, 3)) + bits for (_, costs), bits in zip(said, z_bits, strict=True)]
        hushed = by_block[1] < by_block[0]
        classes = np.where(enlarged(hushed, BLOCK), said[1][0], said[0][0])
        return Weighed(np.where(hushed, silent, z_hat), classes, float(np.minimum(*by_block).sum()), alone)

    return [weighed(*costs) for costs in zip(loud.by_class, quiet.by_class, strict=True)]


class EveryClass(ThriftyRounding):
    """What each position costs in each class above 0, in one walk: scales are ever lower.

    Later passes see what the class that costs a position least so far makes of it, with the walk's means. Good for one
    walk; `by_class` then has bits and error, (1 or 2, CLASSES - 1, H, W): with these means, but in class WHOLLY; and,
    where trust makes them, with y_ref as it stands in all.
    """

    def __init__(
        self, base: FloatPath, scales: ScaleModel, z_hat: Array, rate: TileRate, trusted: Classes, off: Array,
        *, doubting: bool,
    ) -> None:  # fmt: skip
        """Set up.

        Args:
            off: y - y_ref (1, M, H, W), in quantiser steps.
            doubting: whether trust makes the walk's means.
        """
        super().__init__(base, scales, z_hat, rate, trusted)
        self.off, self.doubting = np.moveaxis(off[0], 0, 2), doubting
        self.by_class = np.zeros((1 + doubting, CLASSES - 1, *trusted.shape))

    def chosen(
        self, indices: Indices, rest: Array, mask: NDArray[np.bool_], part: slice
    ) -> tuple[Array, Array | np.float32]:
        """As ever, of the class that costs least."""
        off, found = self.off[mask, part], []
        for index, lowered in enumerate(LOWERED[1:]):
            lower = np.maximum(indices.astype(np.int16) - lowered, 0)
            symbols, cost = self.in_class(lower, off, mask, part)
            self.by_class[1:, index, mask] += cost
            if self.doubting and index + 1 < WHOLLY and part.stop < self.off.shape[2]:
                symbols, cost = self.in_class(lower, rest, mask, part)
            self.by_class[0, index, mask] += cost
            found.append(symbols)
        best = self.by_class[0][:, mask].argmin(0)
        chosen: Array = np.take_along_axis(np.stack(found), best[None, :, None], 0)[0]
        return chosen, np.where((best + 1 == WHOLLY)[:, None], rest - off, np.float32(0))

    def in_class(
        self, indices: Indices, rest: Array, mask: NDArray[np.bool_], part: slice
    ) -> tuple[Array, NDArray[np.float64]]:
        """Symbols of a pass with these scale indices, and what each position costs: (n, m), (n,)."""
        magnitudes, bits, error = self.weigh(indices, rest, self.worths[mask], part)
        return np.copysign(magnitudes, rest), bits + CURVATURE / 2 * error


def _best(costs: Costs) -> tuple[Classes, Costs]:
    """Classes, and what each position then costs; a class costs what it takes beside its neighbours'."""
    choice = (costs + np.array([0, 2, 2, 2, 2])[:, None, None]).argmin(0)
    for _ in range(ROUNDS):
        total = costs.copy()
        for axis in (0, 1):
            pairs = np.full((CLASSES, CLASSES), EVERY)
            one, other = (choice[:-1], choice[1:]) if axis == 0 else (choice[:, :-1], choice[:, 1:])
            np.add.at(pairs, (one.ravel(), other.ravel()), 1)
            bits = -np.log2(pairs / pairs.sum(1, keepdims=True)) / 2
            before, after = bits[one], bits[:, other]  # what a class costs after its neighbour, and makes it cost
            if axis == 0:
                total[:, 1:] += np.moveaxis(before, 2, 0)
                total[:, :-1] += after
            else:
                total[:, :, 1:] += np.moveaxis(before, 2, 0)
                total[:, :, :-1] += after
        choice = total.argmin(0)
    return choice.astype(np.uint8), np.take_along_axis(total, choice[None], 0)[0]


def _z_bits(scales: ScaleModel, z_hat: Array, rate: TileRate) -> Costs:
    """What the z of each block takes: (h, w)."""
    z = np.abs(to_array(z_hat)).astype(np.int64)
    height, width, _ = z.shape
    costs = scales.tables[rate.tune].costs(int(z.max()) + 1)
    bits: Costs = costs[scales.z_indices(height, width, rate), z].sum(2, np.float64)
    return bits


def _blocks(costs: Costs) -> Costs:
    """(4h, 4w) to (h, 4, w, 4)."""
    height, width = costs.shape
    return costs.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)


def settled(motion: Motion, classes: Classes) -> Motion:
    """A motion with these classes, and without what none of them needs."""
    height, width = motion.sources.shape
    used = classes.reshape(height, 2, width, 2).any((1, 3))
    splits = None if motion.splits is None else motion.splits * enlarged(used, 2)
    vectors = (motion.vectors * enlarged(used, CELLS)[..., None]).astype(np.int16)
    return Motion(motion.sources * used, vectors, classes, splits=splits)
