"""What a tile or a picture is coded at: the file's rate and tune, and what a quality map makes of them by block."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nicodec.rate.scale import LEVEL_STEP, RATE_MAX, TUNE_SPACING

Levels = NDArray[np.int16]
Knots = int | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TileRate:
    """The rate of every block of a tile, or of any other rectangle of blocks.

    Attributes:
        rate: 0..65535, the file's own.
        tune: 0.., which of the base's.
        levels: the quality map, LEVEL_MIN..LEVEL_MAX for each position of z: (h, w) int16. None: the rate is the
            same everywhere.
    """

    rate: int
    tune: int = 0
    levels: Levels | None = None

    def flat(self) -> TileRate:
        """One rate for all blocks, the mean of theirs: for networks that know no maps."""
        if self.levels is None:
            return self
        return TileRate(round(float(self._rates(self.levels).mean())), self.tune)

    def cut(self, rows: slice, columns: slice) -> TileRate:
        """That of some of the blocks."""
        return self if self.levels is None else replace(self, levels=self.levels[rows, columns])

    def knots(self, finer: int = 1, where: NDArray[np.bool_] | None = None) -> Knots:
        """Where to read tables over the rate, `rate + TUNE_SPACING · tune`: one number, or with a map one a position.

        Args:
            finer: positions along a side of a block: 1 for z, 4 for y.
            where: (finer·h, finer·w), the positions that are asked for; None: all.

        Returns:
            (finer·h, finer·w) int64 with a map; (positions,) in raster order with a map and `where`.
        """
        if self.levels is None:
            return self.rate + TUNE_SPACING * self.tune
        knots = (self._rates(self.levels) + TUNE_SPACING * self.tune).repeat(finer, 0).repeat(finer, 1)
        return knots if where is None else knots[where]

    def _rates(self, levels: Levels) -> NDArray[np.int64]:
        return np.clip(self.rate + LEVEL_STEP * levels.astype(np.int64), 0, RATE_MAX)
