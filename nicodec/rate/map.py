"""The encoder's choice of a quality map: what a mask asks for, and what eyes do not see in a picture."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.rate.scale import LEVEL_MAX, LEVEL_MIN
from nicodec.rate.tile import Levels

SIDE = 64  # of a block in pixels
CELL = 8  # of what contrast is measured in: an edge leaves most of its block's cells as they are
WHITE = 6  # levels that white in a mask adds: 19 of quality, about 5 dB
STRENGTH = 0.4  # levels for each doubling of the variance
FURTHEST = 4  # levels that contrast may add or take
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Pixels = NDArray[np.uint8]


def mask_levels(mask: Pixels, height: int, width: int) -> Levels:
    """What a mask adds to the level of each block: nothing where it is black, WHITE where it is white.

    Args:
        mask: (h, w), of any size; it is stretched over the picture, and its mean over a block counts.
        height, width: of the picture.

    Returns:
        (ceil(height/64), ceil(width/64)) int16.
    """
    means = _means(_means(mask, height).T, width).T
    return np.round(WHITE * means / 255).astype(np.int16)


def _means(values: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Means over the rows (n, m) that each block reaches over, where n rows are stretched over `length` pixels."""
    edges = np.minimum(np.arange(-(-length // SIDE) + 1) * SIDE, length) / length * len(values)
    means = []
    for start, stop in pairwise(edges.tolist()):
        rows = np.arange(int(start), math.ceil(stop))
        shares = np.minimum(rows + 1, stop) - np.maximum(rows, start)
        means.append(shares @ values[rows[0] : rows[-1] + 1] / shares.sum())
    return np.stack(means)


def contrast_levels(pixels: Pixels) -> Levels:
    """More for blocks of less contrast than the picture's mean, less for those of more: texture hides errors.

    Contrast is the binary logarithm of the variance of luma, in cells of CELL x CELL pixels; a block's and the
    picture's are means over theirs. So the levels' mean is about 0.

    Args:
        pixels: (H, W, 1 or 3).

    Returns:
        (ceil(H/64), ceil(W/64)) int16, at most FURTHEST from 0.
    """
    contrast = np.stack([_contrasts(pixels[top : top + SIDE]) for top in range(0, len(pixels), SIDE)])
    levels = np.round(STRENGTH * (contrast.mean() - contrast)).astype(np.int16)
    return np.clip(levels, -FURTHEST, FURTHEST)


def _contrasts(row: Pixels) -> NDArray[np.float32]:
    """Of a row of blocks (up to 64, W, 1 or 3), mirrored to whole ones: (ceil(W/64),)."""
    luma = row.astype(np.float32) @ LUMA if row.shape[2] == 3 else row[:, :, 0].astype(np.float32)
    luma = np.pad(luma, [(0, -side % SIDE) for side in luma.shape], mode="symmetric")
    cells = luma.reshape(SIDE // CELL, CELL, -1, SIDE // CELL, CELL)
    means: NDArray[np.float32] = np.log2(1 + cells.var((1, 4))).mean((0, 2))
    return means


def total(*parts: Levels) -> Levels | None:
    """A picture's quality map: the sum of what asks for one, in the format's range; None where it is 0 everywhere."""
    levels = np.clip(sum(parts, np.int16(0)), LEVEL_MIN, LEVEL_MAX).astype(np.int16)
    return levels if levels.any() else None
