"""Where networks need to work in a map of which only some positions are wanted: a few rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from nicodec.latents.geometry import BLOCK, Span

CALL = 64  # positions: what a call of a network takes besides


@dataclass(frozen=True)
class Rectangle:
    """Rows and columns of a map, half open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def span(self) -> Span:
        """To cut it out with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def area(self) -> int:
        """Positions."""
        return (self.bottom - self.top) * (self.right - self.left)

    def joined(self, other: Rectangle) -> Rectangle:
        """The smallest that holds both."""
        return Rectangle(
            min(self.top, other.top), max(self.bottom, other.bottom),
            min(self.left, other.left), max(self.right, other.right),
        )  # fmt: skip

    def around(self, reach: int, height: int, width: int) -> Rectangle:
        """With what a network of such a reach sees of a map of this size, in whole blocks of a quality map."""
        return Rectangle(
            max(0, self.top - reach) // BLOCK * BLOCK, min(height, -(-(self.bottom + reach) // BLOCK) * BLOCK),
            max(0, self.left - reach) // BLOCK * BLOCK, min(width, -(-(self.right + reach) // BLOCK) * BLOCK),
        )  # fmt: skip


def cover(wanted: NDArray[np.bool_], reach: int) -> list[Rectangle]:
    """Rectangles that hold all wanted positions of a map (h, w), whose sides are whole blocks; none where none is.

    One below the other: a row joins those above it where that is no more work, with what is around them, and all do
    where that is no more work than they are.
    """
    height, width = wanted.shape

    def work(*parts: Rectangle) -> int:
        return sum(part.around(reach, height, width).area + CALL for part in parts)

    found: list[Rectangle] = []
    for row in np.flatnonzero(wanted.any(1)).tolist():
        columns = np.flatnonzero(wanted[row])
        new = Rectangle(row, row + 1, int(columns[0]), int(columns[-1]) + 1)
        while found and work(found[-1].joined(new)) <= work(found[-1], new):
            new = found.pop().joined(new)
        found.append(new)
    whole = [reduce(Rectangle.joined, found)] if found else []
    return whole if work(*whole) <= work(*found) else found
