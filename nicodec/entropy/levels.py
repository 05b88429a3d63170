"""A tile's quality map as symbols: what each level differs by from what its neighbours say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nicodec.errors import CorruptFileError
from nicodec.rate.scale import LEVEL_MAX, LEVEL_MIN
from nicodec.rate.tile import Levels

Rows = list[list[int]]


def residuals(levels: Levels) -> NDArray[np.int16]:
    """Levels (h, w) to what is coded of them, in raster order: (h·w,)."""
    rows: Rows = levels.tolist()
    height, width = levels.shape
    differences = [rows[r][s] - _predicted(rows, r, s) for r in range(height) for s in range(width)]
    return np.array(differences, np.int16)


def rebuild(differences: NDArray[np.int16], height: int, width: int) -> Levels:
    """What `residuals` made back to levels.

    Raises:
        CorruptFileError: a level is out of its range.
    """
    rows: Rows = []
    coded = iter(differences.tolist())
    for r in range(height):
        rows.append([])
        for s in range(width):
            level = _predicted(rows, r, s) + next(coded)
            if not LEVEL_MIN <= level <= LEVEL_MAX:
                raise CorruptFileError(f"a quality map has level {level}, expected {LEVEL_MIN}..{LEVEL_MAX}")
            rows[r].append(level)
    return np.array(rows, np.int16)


def _predicted(rows: Rows, r: int, s: int) -> int:
    """The median of W, N and W + N - NW; along the upper and left edge the one neighbour that there is."""
    if r == 0 or s == 0:
        return rows[0][s - 1] if s else rows[r - 1][0] if r else 0
    west, north, corner = rows[r][s - 1], rows[r - 1][s], rows[r - 1][s - 1]
    return sorted((west, north, west + north - corner))[1]
