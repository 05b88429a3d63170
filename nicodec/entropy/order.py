"""In which order the latent is coded: channel slices, and in each two checkerboard passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pass:
    """One pass over one slice of y.

    Attributes:
        index: 0.., position of the pass in the stream.
        start, stop: channels of the slice, half open.
        parity: 0 for positions with row + column even, 1 for odd.
        known: how many leading channels hold something decoded before this pass.
    """

    index: int
    start: int
    stop: int
    parity: int
    known: int


def passes(latent: int, slices: int) -> list[Pass]:
    """All passes over a latent of `latent` channels in coding order: slice by slice, even positions first."""
    width = latent // slices
    return [
        Pass(2 * s + parity, s * width, (s + 1) * width, parity, (s + parity) * width)
        for s in range(slices)
        for parity in (0, 1)
    ]


def checkerboard(height: int, width: int, parity: int) -> NDArray[np.bool_]:
    """(height, width) mask of the positions whose row + column is even (parity 0) or odd (parity 1)."""
    return (np.add.outer(np.arange(height), np.arange(width)) % 2) == parity
