"""A smaller picture out of the latents alone: the linear synthesis, averaged over squares, without any of its pixels.

Averaging is linear, as the synthesis is, so both are one small matrix: what a component of y_hat adds to the averages
in its own block of 16x16 pixels and, lapped, in the eight around it. g_s never runs. What it corrects is mostly finer
than a square.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import product

import numpy as np

from nicodec.container.layout import Box, Colour, Header, tiles
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Pixels
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import PATCH, Array, Span, neighbourhood, positions, to_pixels
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import gather

End = tuple[bool, bool]  # whether a block is the first, and the last, of its row or column


class ReducedSynthesis:
    """The linear synthesis of a base, and the average over each square of `scale` x `scale` pixels, in one.

    `scale` divides PATCH. For a picture with its own references the base is the one that they make.
    """

    def __init__(self, base: FloatPath, scale: int) -> None:
        self.base, self.scale = base, scale
        self.squares = PATCH // scale  # along a side of a block
        self._matrices: dict[tuple[End, End], Array] = {}

    @cached_property
    def waves(self) -> Array:
        """What each component of y_hat is in pixels of its block, before lapping: (3, PATCH, PATCH, M)."""
        return self.base.networks.weight("g_s.klt_t.weight").reshape(3, PATCH, PATCH, -1)

    @cached_property
    def taps(self) -> Array:
        """The lapping across a border, see `nicodec.networks.lapping`."""
        return self.base.networks.weight("g_s.lapping.taps")

    def matrix(self, down: End, across: End) -> Array:
        """What y_hat at one position adds to the averages in 3x3 blocks: (3 · (3 · squares)², M)."""
        if (down, across) not in self._matrices:
            rows, columns = (self._averages(*end) for end in (down, across))
            columns_first = np.tensordot(columns, self.waves, (1, 2))  # (3 · squares, 3, PATCH, M)
            both = np.tensordot(rows, columns_first, (1, 2)).transpose(2, 0, 1, 3)
            self._matrices[down, across] = both.reshape(-1, both.shape[3])
        return self._matrices[down, across]

    def _averages(self, first: bool, last: bool) -> Array:
        """Samples of a block, along one side, to averages in the block before, itself and the next.

        The picture's outer borders are not lapped. Returns: (3 · squares, PATCH).
        """
        half = PATCH // 2
        lapped = np.zeros((3 * PATCH, PATCH), np.float32)
        lapped[PATCH : 2 * PATCH] = np.eye(PATCH)
        if not first:
            lapped[half : half + PATCH, :half] = self.taps[:, half:]
        if not last:
            lapped[-half - PATCH : -half, half:] = self.taps[:, :half]
        return lapped.reshape(3 * self.squares, self.scale, PATCH).mean(1)

    def add(self, canvas: Array, origin: tuple[int, int], y_hat: Array, at: Span, size: tuple[int, int]) -> None:
        """Add what y_hat (1, M, h, w) makes to averages (3, rows, columns).

        Args:
            origin: row and column of blocks in the picture at which the canvas starts; all that is made fits in it.
            at: where y_hat lies in the picture's latent.
            size: rows and columns of that.
        """
        side = self.squares
        for (rows, down), (columns, across) in product(*map(_ends, at, size)):
            part = y_hat[0][:, *_within((rows, columns), at)]
            height, width = part.shape[1:]
            made = self.matrix(down, across) @ part.reshape(len(part), -1)
            made = made.reshape(3, 3, side, 3, side, height, width)
            for i, j in product(range(3), range(3)):  # of the 3x3 blocks
                top, left = rows.start + i - 1 - origin[0], columns.start + j - 1 - origin[1]
                block = made[:, i, :, j].transpose(0, 3, 1, 4, 2).reshape(3, side * height, side * width)
                canvas[:, side * top : side * (top + height), side * left : side * (left + width)] += block


def needed(crop: Box, header: Header) -> list[Box]:
    """The tiles whose symbols the averages in `crop` depend on: lapping sees one position further."""
    return [tile for tile in tiles(header.width, header.height) if tile.common(crop, PATCH)]


def synthesise_reduced(
    symbols: Iterable[tuple[Box, TileSymbols]], header: Header, base: FloatPath, crop: Box, scale: int
) -> Pixels:
    """The symbols of the tiles in `needed`, one by one, to the averages over squares of the pixels of `crop`.

    Args:
        symbols: in any order; no more than one tile of y_hat is held at once.
        crop: its corner is a multiple of `scale`.
        scale: 2, 4, 8 or 16.

    Returns:
        (ceil(h/scale), ceil(w/scale), 1 or 3), uint8. Squares that the picture's border cuts hold what the encoder saw
        beyond it: the last pixels again.
    """
    synthesis, size = ReducedSynthesis(base, scale), Box(0, 0, header.width, header.height)
    rows, columns = positions(size)
    blocks = rows.stop, columns.stop
    near, _ = neighbourhood(crop, header.width, header.height, halo=1)
    origin = near[0].start - 1, near[1].start - 1
    sides = [synthesis.squares * (span.stop - span.start + 2) for span in near]
    canvas = np.full((3, *sides), 0.5, np.float32)
    for tile, held in symbols:
        own = positions(tile)
        y_hat, _ = gather({tile: held}, Experts(base), own, 0)
        assert y_hat is not None
        at = _both(own, near)
        synthesis.add(canvas, origin, y_hat[:, :, *_within(at, own)], at, blocks)
    top, left = crop.top // scale - synthesis.squares * origin[0], crop.left // scale - synthesis.squares * origin[1]
    height, width = -(-crop.height // scale), -(-crop.width // scale)
    return to_pixels(canvas[:, top : top + height, left : left + width], 1 if header.colour is Colour.GREY else 3)


def _ends(span: slice, length: int) -> list[tuple[slice, End]]:
    """A span of a row or column of `length` blocks in parts, by whether they are its first or last one."""
    parts = [slice(0, 1), slice(1, length - 1), slice(length - 1, length)]
    found = [slice(max(span.start, part.start), min(span.stop, part.stop)) for part in parts]
    ends = [(True, False), (False, False), (False, True)]
    return [(part, end) for part, end in zip(found, ends, strict=True) if part.start < part.stop]


def _both(a: Span, b: Span) -> Span:
    """What two spans have in common; there is something."""
    rows, columns = (slice(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b, strict=True))
    return rows, columns


def _within(part: Span, whole: Span) -> Span:
    """Where a part of a span lies in it."""
    rows, columns = (slice(x.start - y.start, x.stop - y.start) for x, y in zip(part, whole, strict=True))
    return rows, columns
