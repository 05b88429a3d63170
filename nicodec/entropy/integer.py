"""Integer network layers in numpy: the only arithmetic that entropy decoding depends on (FORMAT.md, "Scale path").

Integers ride in float64 arrays: a matrix product is then one fast BLAS call, and exact in any order of summation as
long as every partial sum stays below 2^53. `check_bound` proves that for each output channel at export and again at
load; a known answer is computed at load, and int64 takes over where a machine's BLAS does not give it.

Feature maps are (H, W, C), channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.rate.scale import KNOT_SHIFT, KNOT_SPACING
from nicodec.rate.tile import Knots

Integers = NDArray[np.float64]  # whole numbers, carried as float64

Product = Callable[[Integers, Integers], Integers]

ACTIVATION_BITS = 8  # fractional bits of every activation
ACTIVATION_MAX = 127 << ACTIVATION_BITS
WEIGHT_MAX = 32767
EXACT_LIMIT = 1 << 53
BLAS_BUFFER = 64 << 20  # bytes that OpenBLAS takes at its first product; where it gets none, it waits for ever


def matmul(a: Integers, b: Integers) -> Integers:
    """Exact product of integer matrices (n, k) x (k, m)."""
    return _product()(a, b)


def matmul_int64(a: Integers, b: Integers) -> Integers:
    """The same product without any float: slow, and always right."""
    return np.asarray(a.astype(np.int64) @ b.astype(np.int64), np.float64)


def gives_known_answer(product: Product) -> bool:
    """Whether a float64 product is exact for sums of odd terms that come close to 2^53."""
    depth = 500
    steps = np.arange(depth, dtype=np.int64)
    a = np.stack([EXACT_LIMIT // (depth * 4096) - 2 * ((steps * k) % 97) for k in (1, 3, 7, 11)]) | 1
    b = np.stack([4095 - 2 * ((steps * k) % 61) for k in (5, 13, 17)], 1) | 1
    answer = product(a.astype(np.float64), b.astype(np.float64))
    return bool(np.array_equal(answer, (a @ b).astype(np.float64)))


@cache
def _product() -> Product:
    """Numpy's product where it is exact, or else the slow one: found out once a process, for a machine stays as it is.

    Raises:
        MemoryError: there is less than BLAS_BUFFER.
    """
    np.empty(BLAS_BUFFER, np.uint8)
    return np.matmul if gives_known_answer(np.matmul) else matmul_int64


def interpolate(table: NDArray[np.int64], at: Knots) -> NDArray[np.int64]:
    """Read a table of per-rate integers (KNOTS · tunes, C) where `TileRate.knots` says: linear, rounded half up.

    Returns:
        (C,) for one number; (..., C) for an array (...), each of its distinct numbers read once.
    """
    if isinstance(at, np.ndarray):
        distinct, which = np.unique(at, return_inverse=True)
        return np.stack([interpolate(table, int(knot)) for knot in distinct])[which.reshape(at.shape)]
    low, weight = at >> KNOT_SHIFT, at & (KNOT_SPACING - 1)
    blend = table[low] * (KNOT_SPACING - weight) + table[low + 1] * weight
    return (blend + KNOT_SPACING // 2) >> KNOT_SHIFT


@dataclass(frozen=True)
class Layer:
    """A linear layer and its requantisation: `clip((weight · x + bias(rate) + 2^(shift-1)) >> shift, low, high)`.

    Attributes:
        weight: (out, in) for a pointwise layer; (C, 3, 3) for a depthwise one (zero border). Whole numbers.
        bias: (KNOTS · tunes, out) int64, read at the rate of each position.
        shift: (out,) int64, >= 1.
        low, high: limits of the result.
    """

    weight: Integers
    bias: NDArray[np.int64]
    shift: NDArray[np.int64]
    low: int = 0
    high: int = ACTIVATION_MAX

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> Layer:
        """Build from stored arrays `name`.weight, .bias, .shift and .range.

        Raises:
            KeyError: one is missing.
        """
        return cls(
            arrays[name + ".weight"].astype(np.float64), arrays[name + ".bias"].astype(np.int64),
            arrays[name + ".shift"].astype(np.int64), *map(int, arrays[name + ".range"]),
        )  # fmt: skip

    def to_arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays to store: integers only."""
        return {
            name + ".weight": self.weight.astype(np.int16),
            name + ".bias": self.bias.astype(np.int64),
            name + ".shift": self.shift.astype(np.int32),
            name + ".range": np.array([self.low, self.high], np.int32),
        }

    def check_bound(self) -> int:
        """The largest magnitude that any sum can reach, bias and rounding included.

        Raises:
            ValueError: it is 2^53 or more, or a weight or shift is out of range.
        """
        if np.abs(self.weight).max(initial=0) > WEIGHT_MAX or self.shift.min() < 1 or self.shift.max() > 40:
            raise ValueError("a weight or a shift of an integer layer is out of range")
        reach = np.abs(self.weight.reshape(len(self.weight), -1)).sum(1).astype(np.int64) * ACTIVATION_MAX
        bound = reach + np.abs(self.bias).max(0) + (np.int64(1) << (self.shift - 1))
        if bound.max() >= EXACT_LIMIT:
            raise ValueError(f"a sum of an integer layer can reach {bound.max()}, the limit is {EXACT_LIMIT}")
        return int(bound.max())

    def pointwise(self, x: Integers, at: Knots) -> Integers:
        """Apply to positions (..., in): (..., out). `at`: one number, or (...)."""
        flat = matmul(x.reshape(-1, x.shape[-1]), self.weight.T)
        return self._requantise(flat.reshape(*x.shape[:-1], len(self.weight)), at)

    def depthwise(self, x: Integers, at: Knots, parity: int | None = None) -> Integers:
        """Apply to a feature map (H, W, C): (H, W, C). `at`: one number, or (H, W).

        With a parity, only where row + column is even (0) or odd (1), in raster order: (positions, C), with `at`
        (positions,); sides are even.
        """
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        if parity is None:
            return self._requantise(self._weighted(padded), at)
        rows = [self._weighted(padded[row:, (row + parity) % 2 :], 2) for row in (0, 1)]
        return self._requantise(np.stack(rows, 1).reshape(-1, x.shape[2]), at)

    def _weighted(self, padded: Integers, step: int = 1) -> Integers:
        """Depthwise sums of a padded map (H + 2, W + 2, C), at every position or at every other one of both sides."""
        height, width, channels = padded.shape
        taps = np.ascontiguousarray(self.weight.transpose(1, 2, 0))
        total = np.zeros((-(-(height - 2) // step), -(-(width - 2) // step), channels))
        term = np.empty_like(total)
        for row in range(3):
            for column in range(3):
                seen = padded[row : height - 2 + row : step, column : width - 2 + column : step]
                total += np.multiply(seen, taps[row, column], out=term)
        return total

    def _requantise(self, total: Integers, at: Knots) -> Integers:
        half = np.left_shift(np.int64(1), self.shift - 1)
        total += interpolate(self.bias + half, at)  # the whole number `half` passes through the interpolation as it is
        total *= np.ldexp(1.0, -self.shift.astype(np.int32))
        np.floor(total, out=total)
        return np.clip(total, self.low, self.high, out=total)


def pixel_shuffle(x: Integers) -> Integers:
    """(H, W, 4C) -> (2H, 2W, C): channel 4c + 2i + j goes to row i, column j of its 2x2 square."""
    height, width, channels = x.shape
    squares = x.reshape(height, width, channels // 4, 2, 2).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(squares).reshape(2 * height, 2 * width, channels // 4)
