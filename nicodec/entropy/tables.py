"""Probability tables: integers, stored with the model, read but never recomputed.

A scale index 0..SCALE_LEVELS-1 picks a table. A table of limit L has 2L + 2 entries: the symbols -L..L,
then the escape. Its counts are one less than the weights that the coder uses (`WEIGHT_TOTAL` in all),
so that no entry can have probability zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE_LEVELS = 64
SCALE_MIN = 0.11
SCALE_MAX = 128.0
WEIGHT_BITS = 24
WEIGHT_TOTAL = 1 << WEIGHT_BITS
SYMBOL_MAX = 32767


@dataclass(frozen=True)
class Tables:
    """The SCALE_LEVELS tables of a tune.

    Attributes:
        limits: (SCALE_LEVELS,) int64, L of each table.
        counts: int64 counts of all tables, one after the other; each table's sum is WEIGHT_TOTAL - entries.
    """

    limits: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.limits) != SCALE_LEVELS or self.limits.min() < 1 or self.limits.max() > SYMBOL_MAX:
            raise ValueError(f"expected {SCALE_LEVELS} tables with limits 1..{SYMBOL_MAX}")
        if self.counts.min() < 0 or len(self.counts) != (2 * self.limits + 2).sum():
            raise ValueError("the counts of the tables do not fit their limits")
        for index in range(SCALE_LEVELS):
            table = self.table(index)
            if table.sum() != WEIGHT_TOTAL - len(table):
                raise ValueError(f"table {index} sums to {table.sum()}, expected {WEIGHT_TOTAL - len(table)}")

    def table(self, index: int) -> NDArray[np.int64]:
        """Counts of one table: (2L + 2,), the escape last."""
        start = int((2 * self.limits[:index] + 2).sum())
        return self.counts[start : start + 2 * int(self.limits[index]) + 2]

    def bits(self, index: int) -> NDArray[np.float64]:
        """Exact cost of each entry of one table in bits (an escaped symbol costs 16 more)."""
        cost: NDArray[np.float64] = WEIGHT_BITS - np.log2(self.table(index) + 1.0)
        return cost

    def costs(self, depth: int) -> NDArray[np.float32]:
        """Bits of a symbol by its magnitude 0..depth-1, signs averaged: (SCALE_LEVELS, depth).

        Magnitudes beyond a table's limit are counted as the limit.
        """
        cost = np.empty((SCALE_LEVELS, depth), np.float32)
        for index, limit in enumerate(self.limits):
            signed = self.bits(index)[: 2 * limit + 1]
            cost[index] = ((signed + signed[::-1]) / 2)[limit + np.minimum(np.arange(depth), limit)]
        return cost


def split_tables(limits: NDArray[np.int64], counts: NDArray[np.int64], tunes: int) -> tuple[Tables, ...]:
    """The tables of each tune, of arrays that hold those of all tunes one after the other.

    Raises:
        ValueError: there are not as many, or they are out of their range.
    """
    if tunes < 1 or len(limits) != SCALE_LEVELS * tunes:
        raise ValueError(f"expected {SCALE_LEVELS} tables for each of {tunes} tunes, there are {len(limits)}")
    ends = np.cumsum([(2 * part + 2).sum() for part in np.split(limits, tunes)])
    return tuple(map(Tables, np.split(limits, tunes), np.split(counts, ends[:-1])))


def scale_of(index: int) -> float:
    """The standard deviation that training meant by a scale index: geometric from SCALE_MIN to SCALE_MAX."""
    return float(SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (SCALE_LEVELS - 1)))


def quantise(mass: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn probabilities of one table (any positive sum) into counts that sum to WEIGHT_TOTAL - entries."""
    free = WEIGHT_TOTAL - len(mass)
    counts = np.floor(mass / mass.sum() * free).astype(np.int64)
    counts[np.argmax(counts)] += free - counts.sum()
    return counts


def gaussian_tables() -> Tables:
    """Tables of zero-mean Gaussians, integrated over unit bins; the escape takes the tails. Used at export only."""
    limits, counts = [], []
    for index in range(SCALE_LEVELS):
        scale = scale_of(index)
        limit = max(8, math.ceil(5 * scale))
        edges = (np.arange(-limit, limit + 2) - 0.5) / (scale * math.sqrt(2))
        mass = np.diff([0.5 * math.erfc(-edge) for edge in edges])
        limits.append(limit)
        counts.append(quantise(np.append(mass, max(0.0, 1 - mass.sum()))))
    return Tables(np.array(limits, np.int64), np.concatenate(counts))
