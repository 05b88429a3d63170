"""The warp of references onto a picture, in integers: the same pixels give the same prediction on every machine.

FORMAT.md, "References", states this arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.container.drawn import SIDE
from nicodec.container.references import Alignment
from nicodec.entropy.motion import Motion
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import Span

UNIT = 64  # positions between two pixels
QUARTER = UNIT // 4
FURTHEST = 1 << 30  # of a position, in units
TAP_BITS, LEVEL_BITS = 7, 4  # fractional bits of a tap, and of a level before its brightness is changed
Integers = NDArray[np.int64]


def _taps() -> NDArray[np.int32]:
    """Cubic convolution (Catmull and Rom's) for each of UNIT places between two pixels: (UNIT, 4), rows sum to 128."""
    f = np.arange(UNIT, dtype=np.int64)
    cubic = [2 * UNIT * f * f - f**3 - UNIT**2 * f, 4 * UNIT * f * f - 3 * f**3 + UNIT**2 * f, f**3 - UNIT * f * f]
    before, after, last = ((tap + (1 << 11)) >> 12 for tap in cubic)
    return np.stack([before, (1 << TAP_BITS) - before - after - last, after, last], 1).astype(np.int32)


TAPS = _taps()


@dataclass(frozen=True, eq=False)
class Aligned:
    """A reference's pixels (H, W, 1 or 3), and how it lies under a picture of this size."""

    pixels: Pixels
    alignment: Alignment
    width: int
    height: int

    def corners(self, rows: slice, columns: slice) -> Integers:
        """Where corners of blocks lie in the reference, in units: (n, m, 2), rows and columns first.

        Args:
            rows, columns: of the corners, in blocks.
        """
        row = np.arange(rows.start, rows.stop).astype(object)[:, None]  # Python's integers, which have no end
        column = np.arange(columns.start, columns.stop).astype(object)[None]
        x, y, under = (a * column + b * row + c for a, b, c in self.alignment.homography(self.width, self.height))
        over = np.stack([y, x], 2)
        exact = (2 * (UNIT // 16) * over + under[:, :, None]) // (2 * under[:, :, None])
        return np.clip(exact, -FURTHEST, FURTHEST).astype(np.int64)


def warp(references: Sequence[Aligned], motion: Motion, around: Span) -> Pixels:
    """What the references make of a part of the picture: (h, w, C).

    Blocks that take nothing show what the first reference has there.

    Args:
        references: at least one; all of one number of channels.
        motion: of the part.
        around: its rows and columns in the picture's latent, in whole blocks.
    """
    rows, columns = (slice(s.start // 2, s.stop // 2 + 1) for s in around)
    sources = np.maximum(motion.sources, 1)
    vectors = motion.vectors.astype(np.int64) * QUARTER
    channels = references[0].pixels.shape[2]
    height, width = (SIDE * length for length in sources.shape)
    warped = np.empty((height, width, channels), np.uint8)
    for number, reference in enumerate(references, 1):
        if not (sources == number).any():
            continue
        corners = reference.corners(rows, columns)
        planes = np.ascontiguousarray(np.moveaxis(reference.pixels, 2, 0))
        for row, taken in enumerate(sources == number):
            if taken.any():
                places = _places(corners[row : row + 2], vectors[row], taken)
                line = warped[SIDE * row : SIDE * (row + 1)].reshape(SIDE, -1, SIDE, channels)
                line[:, taken] = _sampled(planes, reference.alignment.light, places).reshape(SIDE, -1, SIDE, channels)
    return warped


def _places(corners: Integers, vectors: Integers, taken: NDArray[np.bool_]) -> Integers:
    """Where the pixels of some blocks of a row lie: (SIDE, n, SIDE, 2).

    Args:
        corners: of the row, above and below (2, m + 1, 2).
        vectors: (m, 2) in units.
        taken: which of the m blocks.
    """
    at = 2 * np.arange(SIDE)[:, None] + 1
    left, right = (part[:, taken] for part in (corners[:, :-1], corners[:, 1:]))
    down = [(2 * SIDE - at) * edge[0].reshape(1, -1) + at * edge[1].reshape(1, -1) for edge in (left, right)]
    first, last = (edge.reshape(SIDE, -1, 1, 2) for edge in down)
    along = at[None, None, :, :]
    inside = ((2 * SIDE - along) * first + along * last + (1 << 11)) >> 12
    return inside + vectors[taken][None, :, None, :] - UNIT // 2


def _sampled(planes: NDArray[np.uint8], light: tuple[tuple[int, int], ...], places: Integers) -> Pixels:
    """Pixels (n, C) of planes (C, H, W) at places (.., 2), in the picture's brightness; edges repeat."""
    flat = places.reshape(-1, 2)
    whole, between = flat >> 6, flat & (UNIT - 1)
    height, width = planes.shape[1:]
    rows = [np.clip(whole[:, 0] + k, 0, height - 1) * width for k in range(-1, 3)]
    columns = [np.clip(whole[:, 1] + k, 0, width - 1) for k in range(-1, 3)]
    down, across = (TAPS[between[:, axis]].T for axis in range(2))
    sampled = np.empty((len(flat), len(planes)), np.uint8)
    for channel, plane in enumerate(planes.reshape(len(planes), -1)):
        total: Any = 0
        for row, weight in zip(rows, down, strict=True):
            total += weight * sum(tap * plane[row + column] for tap, column in zip(across, columns, strict=True))
        fine = (total + (1 << 2 * TAP_BITS - LEVEL_BITS - 1)) >> 2 * TAP_BITS - LEVEL_BITS
        gain, offset = light[channel]
        lit = (fine * gain + (offset << 12) + (1 << 13)) >> 14
        sampled[:, channel] = np.clip(lit, 0, 255)
    return sampled
