"""How far each position of a tile trusts the references: classes by the bits that they save, and what z says then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.motion import CLASSES, Motion
from nicodec.entropy.scales import ScaleModel
from nicodec.latents.effort import ThriftyRounding, to_array
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import BLOCK, Array
from nicodec.latents.rates import to_rates
from nicodec.rate.tile import TileRate

Costs = NDArray[np.float64]
Classes = NDArray[np.uint8]

ROUNDS = 3  # of the choice, in each of which positions see what their neighbours chose in the last one
EVERY = 0.5  # that each pair of neighbours is counted more than it was seen


def choose_classes(
    base: FloatPath, scales: ScaleModel, y: Array, z_hat: Array, rate: TileRate, found: Expected
) -> tuple[Array, Classes]:
    """What z says (1, N, h, w), and the classes (4h, 4w): of least bits and error, by the tables' own bits.

    Args:
        y: of the tile (1, M, 4h, 4w), in quantiser steps.
        z_hat: what h_a makes of it.
        found: the tile's motion, whose classes do not matter, and what it makes of y.
    """
    silent = np.zeros_like(z_hat)
    said = [_best(_costs(base, scales, y, z, rate, found)) for z in (z_hat, silent)]
    z_bits = [_z_bits(scales, z, rate) for z in (z_hat, silent)]
    by_block = [_blocks(costs).sum((1, 3)) + bits for (_, costs), bits in zip(said, z_bits, strict=True)]
    quiet = by_block[1] < by_block[0]
    z = np.where(quiet[None, None], silent, z_hat)
    classes = np.where(quiet.repeat(BLOCK, 0).repeat(BLOCK, 1), said[1][0], said[0][0])
    return z, classes


def _costs(base: FloatPath, scales: ScaleModel, y: Array, z_hat: Array, rate: TileRate, found: Expected) -> Costs:
    """Bits and error of each position in each class, where all others are in it as well: (CLASSES, 4h, 4w)."""
    taken = found.motion.sources.repeat(2, 0).repeat(2, 1) > 0
    costs = []
    for each in range(CLASSES):
        classes = np.where(taken, each, 0).astype(np.uint8)
        rounding = ThriftyRounding(base, scales, z_hat, rate, classes)
        base.quantise(y, z_hat, to_rates(rate), rounding, replace(found, motion=replace(found.motion, classes=classes)))
        costs.append(rounding.cost_map)
    return np.stack(costs)


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
    return Motion(motion.sources * used, (motion.vectors * used[..., None]).astype(np.int16), classes)
