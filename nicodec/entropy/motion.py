"""What a tile takes from references: where each block lies in them, and how far each position trusts them. Integers.

All is coded by tables that adapt to what was coded before them, so no model has to hold any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.entropy.tables import WEIGHT_TOTAL
from nicodec.errors import CorruptFileError

SOURCES = 9  # none, and the most references that a file has
LOWERED = (0, 0, 3, 9, 15)  # by class, what the scale indices of a position's symbols are lowered by
CLASSES = len(LOWERED)
WHOLLY = CLASSES - 1  # the class in which references are trusted as they stand
REACH = 1 << 13  # quarters of a pixel: every part of a vector is -REACH .. REACH - 1
BUCKETS = 16  # of what a vector is off by: a number of n binary digits is in bucket n
CELLS = 4  # along a side of a block: squares of 8x8 pixels, the smallest that have a vector of their own
GAINED, MOST = 24, 1024  # what an entry that was coded gains, and the sum beyond which all are halved

# One step of coding: the weights of the entries, and the entry that is there (whatever it is, where it is read).
Step = Callable[[list[int], int], int]


@dataclass(frozen=True, eq=False)
class Motion:
    """What the blocks of 32x32 pixels and the positions of a tile, or of any other rectangle of them, take.

    Attributes:
        sources: number of the reference of each block, from 1; 0: none. (2h, 2w) uint8.
        vectors: of each cell of 8x8 pixels, rows and columns in quarters of a pixel, on top of the reference's
            alignment. (8h, 8w, 2) int16.
        classes: (4h, 4w) uint8, 0: as ever; k: the mean of y is what references say, scale indices are
            LOWERED[k] lower.
        shown: (2h, 2w) uint8, 1: the block shows the reference's own pixels; 0 where there is no source. None: in a
            file that does not say.
        splits: (4h, 4w) uint8: what the vectors of a position's four cells are, 0: those of its whole block; 1: one of
            its own; 2: one each. 0 in all positions of a block or in none. None: in a file that does not say: all 0.
    """

    sources: NDArray[np.uint8]
    vectors: NDArray[np.int16]
    classes: NDArray[np.uint8]
    shown: NDArray[np.uint8] | None = None
    splits: NDArray[np.uint8] | None = None

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """Positions (4h, 4w) that take what references say, but as far as they are trusted, where a trust is named."""
        return (self.classes > 0) & (self.classes < WHOLLY)

    def tobytes(self) -> bytes:
        """Sources, vectors, splits and what is shown as far as they are said, classes: little-endian int16, C order.

        Where splits are not said, vectors are those of whole blocks (2h, 2w, 2).
        """
        vectors = self.vectors[::CELLS, ::CELLS] if self.splits is None else self.vectors
        parts: list[NDArray[Any]] = [self.sources, vectors]
        parts += [part for part in (self.splits, self.shown) if part is not None]
        return b"".join(part.astype("<i2").tobytes() for part in (*parts, self.classes))

    @classmethod
    def none(cls, height: int, width: int, *, shown: bool = False, splits: bool = False) -> Motion:
        """That of a tile of h x w positions of z which takes nothing; and says what is shown, and how it is split."""
        blocks, positions, cells = ((times * height, times * width) for times in (2, 4, 2 * CELLS))
        return cls(
            np.zeros(blocks, np.uint8),
            np.zeros((*cells, 2), np.int16),
            np.zeros(positions, np.uint8),
            np.zeros(blocks, np.uint8) if shown else None,
            np.zeros(positions, np.uint8) if splits else None,
        )

    @property
    def said(self) -> dict[str, bool]:
        """What of `none`'s is said."""
        return {"shown": self.shown is not None, "splits": self.splits is not None}


class AdaptiveTable:
    """The weights of a table's entries: how often each was coded, of late more than long ago."""

    def __init__(self, entries: int, likely: int = 0) -> None:
        self.counts = [1] * entries
        self.counts[likely] += GAINED // 4

    def weights(self) -> list[int]:
        """One for each entry, which sum to WEIGHT_TOTAL; what rounding leaves over is the first one's."""
        free, total = WEIGHT_TOTAL - len(self.counts), sum(self.counts)
        weights = [count * free // total + 1 for count in self.counts]
        weights[0] += WEIGHT_TOTAL - sum(weights)
        return weights

    def code(self, step: Step, entry: int) -> int:
        """Code an entry, and adapt to it."""
        entry = step(self.weights(), entry)
        self.counts[entry] += GAINED
        if sum(self.counts) > MOST:
            self.counts = [count + 1 >> 1 for count in self.counts]
        return entry


def walk_motion(motion: Motion, step: Step, moved: Callable[[Motion], None] | None = None) -> None:
    """Code all of a tile, in the format's order; a reader's `step` fills in what a `Motion.none` does not have.

    Args:
        moved: called as soon as all but the classes is there.

    Raises:
        CorruptFileError: a vector is out of its range.
    """
    _walk_blocks(motion, step)
    if moved is not None:
        moved(motion)
    _walk_classes(motion, step)


def walk_shown(motion: Motion, step: Step) -> None:
    """Code nothing but which of the blocks that have a source are shown, as `walk_motion` does."""
    shows = _Shows(motion, step)
    for r, s in np.argwhere(motion.sources).tolist():
        shows.walk(r, s)


def _walk_blocks(motion: Motion, step: Step) -> None:
    rows, columns = motion.sources.shape
    sources = [AdaptiveTable(SOURCES, likely) for likely in range(SOURCES)]
    vectors, shows = _Vectors(motion, step), _Shows(motion, step)
    for r in range(rows):
        for s in range(columns):
            beside = motion.sources[r, s - 1] if s else motion.sources[r - 1, s] if r else 1
            source = sources[int(beside)].code(step, int(motion.sources[r, s]))
            motion.sources[r, s] = source
            if source:
                vectors.walk(r, s)
                shows.walk(r, s)


class _Shows:
    """Which blocks of a tile are shown, as they are coded; nothing where that is not said."""

    def __init__(self, motion: Motion, step: Step) -> None:
        self.shown, self.step = motion.shown, step
        self.tables = [AdaptiveTable(2, likely // 2) for likely in range(3)]

    def walk(self, r: int, s: int) -> None:
        """A block that has a source."""
        if (shown := self.shown) is not None:
            west, north = int(shown[r, s - 1]) if s else 0, int(shown[r - 1, s]) if r else 0
            shown[r, s] = self.tables[west + north].code(self.step, int(shown[r, s]))


class _Vectors:
    """The vectors of a tile as they are coded, block by block; how a block is split first."""

    def __init__(self, motion: Motion, step: Step) -> None:
        self.motion, self.step = motion, step
        self.splits = motion.splits
        self.sizes = [[[AdaptiveTable(BUCKETS) for _ in range(2)] for _ in range(2)] for _ in range(3)]
        self.tables = [[AdaptiveTable(2, likely // 2) for likely in range(3)] for _ in range(2)]  # of splits
        self.coded: dict[tuple[int, int], tuple[int, int]] = {}  # of cells

    def walk(self, r: int, s: int) -> None:
        """A block that has a source."""
        if self.splits is None or not self._is_split(self.splits, 2 * r, 2 * s, 1):
            self._code(CELLS * r, CELLS * s, 0)
            return
        for i, j in product((2 * r, 2 * r + 1), (2 * s, 2 * s + 1)):
            level = 1 + self._is_split(self.splits, i, j, 2)
            self.splits[i, j] = level
            for k in range(1 if level == 1 else 4):
                self._code(2 * i + k // 2, 2 * j + k % 2, level)

    def _is_split(self, splits: NDArray[np.uint8], i: int, j: int, level: int) -> int:
        """1 where the block (level 1) or the quarter (level 2) whose first position is at (i, j) is, or else 0."""
        west, north = splits[i, j - 1] if j else 0, splits[i - 1, j] if i else 0
        table = self.tables[level - 1][int(west >= level) + int(north >= level)]
        return table.code(self.step, int(splits[i, j] >= level))

    def _code(self, r: int, s: int, level: int) -> None:
        """The vector of a square whose first cell is at (r, s)."""
        side = CELLS >> level
        places = ((r, s - 1), (r - 1, s), (r - 1, s + side))
        around = [self.coded[at] for at in places if at in self.coded]
        tables = self.sizes[level][len(around) > 1 and around[0] == around[1]]
        expected, own = predicted(around), self.motion.vectors[r, s].tolist()
        vector = [e + _code_signed(self.step, t, v - e) for t, e, v in zip(tables, expected, own, strict=True)]
        if not all(-REACH <= part < REACH for part in vector):
            raise CorruptFileError(f"a vector of a reference is {vector}, expected {-REACH}..{REACH - 1}")
        self.motion.vectors[r : r + side, s : s + side] = vector
        for i in range(r, r + side):
            for j in range(s, s + side):
                self.coded[i, j] = vector[0], vector[1]


def predicted(around: list[tuple[int, int]]) -> tuple[int, int]:
    """The vector that its neighbours' make likely: the median of three, the first of fewer, 0 of none."""
    if len(around) < 3:
        return around[0] if around else (0, 0)
    return sorted(v[0] for v in around)[1], sorted(v[1] for v in around)[1]


def _code_signed(step: Step, size: AdaptiveTable, value: int) -> int:
    """A signed number: how many digits its unsigned form has, then all of these but the first, highest first."""
    unsigned = value << 1 if value >= 0 else ~(value << 1)
    digits = size.code(step, min(unsigned.bit_length(), BUCKETS - 1))
    read = 1 if digits else 0
    for place in range(digits - 2, -1, -1):
        read = read << 1 | step([WEIGHT_TOTAL // 2] * 2, unsigned >> place & 1)
    return ~(read >> 1) if read & 1 else read >> 1


def _walk_classes(motion: Motion, step: Step) -> None:
    rows, columns = motion.classes.shape
    tables = [AdaptiveTable(CLASSES, likely // 2) for likely in range(2 * CLASSES - 1)]
    taken = motion.sources.repeat(2, 0).repeat(2, 1).tolist()
    classes = motion.classes.tolist()
    for r in range(rows):
        for s in range(columns):
            if taken[r][s]:
                west = classes[r][s - 1] if s else classes[r - 1][s] if r else 0
                north = classes[r - 1][s] if r else west
                classes[r][s] = tables[west + north].code(step, classes[r][s])
    motion.classes[:] = classes
