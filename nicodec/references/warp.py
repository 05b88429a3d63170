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
from nicodec.entropy.motion import CELLS, Motion
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import Span

UNIT = 64  # positions between two pixels
QUARTER = UNIT // 4
FURTHEST = 1 << 30  # of a position, in units
EDGE = 3  # pixels beyond an edge, from which on all that is seen are its own
AT_ONCE = 1 << 14  # pixels that are sampled at once: what they take stays in a processor's cache
LANES = 4  # channels that are looked up at once, as one word: there are at most three
MIDDLE = 128  # levels are summed less this, so that a row's sum fits 16 bits
TAP_BITS, LEVEL_BITS = 7, 4  # fractional bits of a tap, and of a level before its brightness is changed
Integers = NDArray[np.int64]


def _taps() -> NDArray[np.int32]:
    """Cubic convolution (Catmull and Rom's) for each of UNIT places between two pixels: (UNIT, 4), rows sum to 128."""
    f = np.arange(UNIT, dtype=np.int64)
    cubic = [2 * UNIT * f * f - f**3 - UNIT**2 * f, 4 * UNIT * f * f - 3 * f**3 + UNIT**2 * f, f**3 - UNIT * f * f]
    before, after, last = ((tap + (1 << 11)) >> 12 for tap in cubic)
    return np.stack([before, (1 << TAP_BITS) - before - after - last, after, last], 1).astype(np.int32)


def _words(values: NDArray[Any]) -> NDArray[Any]:
    """All LANES of each place (.., LANES) as one item (..), for `take`."""
    return values.view(f"V{LANES * values.itemsize}")[..., 0]


TAPS = _taps()
ACROSS, DOWN = (
    _words(TAPS.T[:, :, None].repeat(LANES, 2).astype(kind)) for kind in (np.int16, np.float32)
)  # (4, UNIT)


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

    def laid(self) -> Pixels:
        """What the picture shows of it if nothing has moved but the camera: (height, width, C)."""
        down, across = (-(-length // (2 * SIDE)) for length in (self.height, self.width))
        whole = warp([self], Motion.none(down, across), (slice(0, 4 * down), slice(0, 4 * across)))
        return whole[: self.height, : self.width]


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
    height, width = sources.shape
    vectors = motion.vectors.astype(np.int64).reshape(height, CELLS, width, CELLS, 2).swapaxes(1, 2) * QUARTER
    blocks = np.empty((height, SIDE, width, SIDE, references[0].pixels.shape[2]), np.uint8)
    for number, reference in enumerate(references, 1):
        taken = sources == number
        if taken.any():
            corners = reference.corners(rows, columns)
            y, x = (_places(corners[..., axis], vectors[..., axis], taken) for axis in range(2))
            blocks.swapaxes(1, 2)[taken] = _sampled(reference, y.ravel(), x.ravel()).reshape(*y.shape, -1)
    return blocks.reshape(height * SIDE, width * SIDE, -1)


def _places(corners: Integers, vectors: Integers, taken: NDArray[np.bool_]) -> Integers:
    """Where the pixels of some blocks lie, their rows or their columns: (n, SIDE, SIDE) in units.

    Args:
        corners: of all blocks (h + 1, w + 1).
        vectors: (h, w, CELLS, CELLS) in units.
        taken: which of the h x w blocks.
    """
    at = 2 * np.arange(SIDE, dtype=np.int64) + 1
    left, right = (
        (2 * SIDE - at) * corners[:-1, side][taken][:, None] + at * corners[1:, side][taken][:, None]
        for side in (slice(None, -1), slice(1, None))
    )
    shifts = (1 << 11) + ((vectors[taken] - UNIT // 2) << 12)
    places = np.asarray((2 * SIDE - at) * left[:, :, None] + at * right[:, :, None], np.int64)
    cells = places.reshape(len(places), CELLS, SIDE // CELLS, CELLS, SIDE // CELLS)
    cells += shifts[:, :, None, :, None]
    places >>= 12
    return places


def _sampled(reference: Aligned, y: Integers, x: Integers) -> Pixels:
    """Pixels (n, C) of a reference at rows y and columns x (n,), in the picture's brightness; edges repeat.

    Exact: sizes of taps sum to 160 at most, so a row's sum of levels, less MIDDLE, fits int16, and that of all float32.
    """
    height, width, channels = reference.pixels.shape
    (rows, top), (columns, left) = _spots(y >> 6, height), _spots(x >> 6, width)
    step, levels = len(columns), np.zeros((len(rows), len(columns), LANES), np.int16)
    levels[:, :, :channels] = reference.pixels[rows][:, columns]
    levels -= MIDDLE
    words, at, down, across = _words(levels).ravel(), top * step + left, y & (UNIT - 1), x & (UNIT - 1)
    sampled = np.empty((len(at), channels), np.uint8)
    for start in range(0, len(at), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        first, taps = at[some], [tap.take(across[some]).view(np.int16) for tap in ACROSS]
        total = np.zeros(LANES * len(first), np.float32)
        for row, weight in enumerate(DOWN):
            line = words[row * step :].take(first).view(np.int16) * taps[0]
            for column in range(1, 4):
                line += words[row * step + column :].take(first).view(np.int16) * taps[column]
            total += line * weight.take(down[some]).view(np.float32)
        whole = total.astype(np.int32) + (MIDDLE << 2 * TAP_BITS)
        fine = (whole + (1 << 2 * TAP_BITS - LEVEL_BITS - 1)) >> 2 * TAP_BITS - LEVEL_BITS
        for channel, (gain, offset) in enumerate(reference.alignment.light[:channels]):
            brighter = (fine[channel::LANES] * gain + (offset << 12) + (1 << 13)) >> 14
            sampled[some, channel] = np.clip(brighter, 0, 255)
    return sampled


def _spots(whole: Integers, length: int) -> tuple[Integers, Integers]:
    """The rows (or columns) of a picture that four taps around `whole` see, and which is the first of each (n,)."""
    near = whole.clip(-EDGE, length)
    first = near.min()
    return np.arange(first - 1, near.max() + 3).clip(0, length - 1), near - first
