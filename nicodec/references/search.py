"""Where the blocks of a tile lie in aligned references: vectors by matching, smooth where that costs little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nicodec.container.drawn import SIDE
from nicodec.entropy.motion import CELLS, REACH, Motion
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import PATCH, Array, Span, coarser, cut, enlarged, in_pixels
from nicodec.rate.scale import lambda_from_rate
from nicodec.references.align import LUMA, halved, luma, sums
from nicodec.references.warp import TAPS, UNIT, Aligned, warp

Vectors = NDArray[np.int64]  # (rows, columns, 2), rows and columns in quarters of a pixel

COARSE = 4  # at a quarter of the resolution every vector is tried
SPAN = 8  # pixels there, in each direction
MARGIN = COARSE * (SPAN + 2)  # pixels around a plane that blocks are found in
SMOOTHINGS = 2  # rounds in which blocks try their neighbours' vectors
PHASES = 4
NAMED = 8 * 32  # bits, about, that the name and the place of a reference take
WORTH_SPLITTING = 24  # bits that a square must cost for its parts to be looked for
SPLIT = 2  # bits, about, that saying so takes


@dataclass(frozen=True, eq=False)
class Field:
    """Vectors of a tile's cells in one reference, as seen in the picture, and what each block costs.

    Attributes:
        vectors: (8h, 8w, 2).
        splits: (4h, 4w), as in `Motion`.
        costs: (2h, 2w) bits.
    """

    vectors: Vectors
    splits: NDArray[np.uint8]
    costs: NDArray[np.float64]


def find_motion(pixels: Pixels, references: Sequence[Aligned], around: Span, core: Span, rate: int) -> Motion:
    """Sources and vectors of a tile's blocks; all its classes are 0.

    Args:
        pixels: of the tile and its halo, as `analysis.analyse` cuts them.
        references: of the picture.
        around: rows and columns of the picture's latent that the tile and its halo are.
        core: of these, the tile's own.
        rate: of the file.
    """
    own = luma(cut(pixels, *in_pixels(core)))
    origin = core[0].start * PATCH, core[1].start * PATCH
    nothing = Motion.none(*((s.stop - s.start) // 4 for s in around))
    place = blocks_of(around, core)
    fields, moved = [], []
    for reference in references:
        seen = warp([grey(reference)], nothing, around)[:, :, 0].astype(np.float32)
        field = search(own, seen, origin, step_of(rate), _still(reference, place))
        fields.append(field)
        moved.append(_in_reference(field.vectors, reference, place))
    best = sources(np.stack([field.costs for field in fields]))
    height, width = ((s.stop - s.start) // 4 for s in core)
    motion = Motion.none(height, width, splits=True)
    assert motion.splits is not None
    motion.sources[:] = best + 1
    motion.vectors[:] = np.take_along_axis(np.stack(moved), enlarged(best, CELLS)[None, :, :, None], 0)[0]
    motion.splits[:] = np.take_along_axis(np.stack([field.splits for field in fields]), enlarged(best, 2)[None], 0)[0]
    return motion


def sources(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which reference is best for each block, of those that save what it takes to name them.

    Args:
        costs: of each reference and block, in bits.
    """
    costs = costs.copy()
    for _ in range(len(costs) - 1):
        least = costs.min(0)
        kept = [index for index, own in enumerate(costs) if np.isfinite(own).all()]
        saved = [(np.delete(costs, index, 0).min(0) - least).sum() for index in kept]
        if min(saved) >= NAMED:
            break
        costs[kept[int(np.argmin(saved))]] = np.inf
    return costs.argmin(0)


def grey(reference: Aligned) -> Aligned:
    """What matching sees of it."""
    if reference.pixels.shape[2] == 1:
        return reference
    gain, offset = np.rint(LUMA @ np.array(reference.alignment.light)).astype(int).tolist()
    pixels = np.rint(luma(reference.pixels)).astype(np.uint8)[:, :, None]
    return replace(reference, pixels=pixels, alignment=replace(reference.alignment, light=((gain, offset),) * 3))


def blocks_of(around: Span, core: Span) -> Span:
    """Rows and columns of a tile's blocks in the picture."""
    rows, columns = (slice(a.start + c.start, a.start + c.stop) for a, c in zip(around, core, strict=True))
    return coarser((rows, columns), 2)


def step_of(rate: int) -> float:
    """The quantiser's step, in levels: by the theory that the gains start from."""
    return 255 * float(np.sqrt(4e-4 / lambda_from_rate(rate)))


def search(own: Array, seen: Array, origin: tuple[int, int], step: float, still: Vectors) -> Field:
    """Match the blocks of a plane (h, w), whole ones, in a larger one, in which it lies at `origin`.

    `still`: vectors in quarters of a pixel that are tried besides.
    """
    seen = np.pad(seen, MARGIN, mode="edge")
    origin = origin[0] + MARGIN, origin[1] + MARGIN
    vectors = _coarse(own, seen, origin, step)
    middle = _Matching(halved(own), halved(seen)[None], (origin[0] // 2, origin[1] // 2), SIDE // 2, SIDE, step)
    vectors = middle.refined(middle.smoothed(2 * vectors), 1)
    planes = phases(seen)
    fine = _Matching(own, planes, origin, SIDE, SIDE, step)
    vectors = fine.smoothed(fine.best(2 * PHASES * vectors, [still]))
    for reach in (PHASES, PHASES // 2, PHASES // 4):
        vectors = fine.refined(vectors, reach)
    for _ in range(SMOOTHINGS):
        vectors = fine.smoothed(vectors)
    return _split(own, planes, origin, vectors, fine.costs(vectors), step)


def _split(
    own: Array, planes: Array, origin: tuple[int, int], vectors: Vectors, costs: NDArray[np.float64], step: float
) -> Field:
    """Blocks in quarters, and quarters in cells, where their own vectors save more than they cost."""
    found = [(vectors, costs)]
    for side in (SIDE // 2, SIDE // CELLS):
        parts = _Matching(own, planes, origin, side, side, step, enlarged(costs > WORTH_SPLITTING, 2))
        vectors = parts.smoothed(enlarged(vectors, 2))
        for reach in (4 * PHASES, 2 * PHASES, PHASES, PHASES // 2, PHASES // 4):
            vectors = parts.refined(vectors, reach)
        vectors = parts.smoothed(vectors)
        costs = parts.costs(vectors)
        found.append((vectors, costs))
    (whole, costs), (quarters, of_quarters), (cells, of_cells) = found
    by_cells = sums(of_cells, 2) + SPLIT
    again = by_cells < of_quarters
    by_quarters = sums(np.minimum(by_cells, of_quarters), 2) + SPLIT
    split = enlarged(by_quarters < costs, 2)
    splits = np.where(split, np.where(again, 2, 1), 0).astype(np.uint8)
    quarters = np.where(enlarged(again, 2)[..., None], cells, enlarged(quarters, 2))
    vectors = np.where(enlarged(split, 2)[..., None], quarters, enlarged(whole, CELLS))
    return Field(vectors, splits, np.minimum(by_quarters, costs))


def _coarse(own: Array, seen: Array, origin: tuple[int, int], step: float) -> Vectors:
    """Vectors at 1/COARSE of the resolution, in pixels there."""
    a, b = halved(halved(own)), halved(halved(seen))
    side = SIDE // COARSE
    rows, columns = (length // side for length in a.shape)
    top, left = (start // COARSE for start in origin)
    vectors, least = np.zeros((rows, columns, 2), np.int64), np.full((rows, columns), np.inf)
    for dy in range(-SPAN, SPAN + 1):
        for dx in range(-SPAN, SPAN + 1):
            y, x = top + dy, left + dx
            errors = sums(np.square(b[y : y + len(a), x : x + a.shape[1]] - a), side) / side**2
            cost = worth(errors, step) + spent(np.array([dy, dx]))
            better = cost < least
            least, vectors[better] = np.where(better, cost, least), (dy, dx)
    return vectors


def worth(errors: NDArray[np.float32] | NDArray[np.float64], step: float, side: int = SIDE) -> NDArray[np.float64]:
    """Bits that a square's prediction costs, by its mean squared error: half a binary logarithm a pixel."""
    return side**2 / 2 * np.log2(1 + errors / step**2)


def spent(off: Vectors) -> NDArray[np.float64]:
    """Bits that a vector takes which is `off` (.., 2) from what its neighbours say."""
    return np.where(off == 0, 0.5, 2 + 2 * np.log2(1 + np.abs(off))).sum(-1)


def phases(plane: Array) -> Array:
    """A plane moved by 0..3 quarters of a pixel down, and across: (16, h, w)."""
    taps = TAPS[:: UNIT // PHASES].astype(np.float32) / 128
    padded = np.pad(plane, ((1, 2), (1, 2)), mode="edge")
    height, width = plane.shape
    found = np.empty((PHASES, PHASES, height, width), np.float32)
    for i in range(PHASES):
        down = sum(tap * padded[k : k + height] for k, tap in enumerate(taps[i]))
        for j in range(PHASES):
            found[i, j] = sum(tap * down[:, k : k + width] for k, tap in enumerate(taps[j]))
    return found.reshape(-1, height, width)


class _Matching:
    """Squares of one plane in the phases of another.

    Args:
        side: of a square, in pixels of the plane.
        pixels: of the picture, along a side of a square.
        some: which squares are looked for; None: all.
    """

    def __init__(
        self, own: Array, planes: Array, origin: tuple[int, int], side: int, pixels: int, step: float,
        some: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        self.unit, self.pixels, self.step, self.some = math.isqrt(len(planes)), pixels, step, some
        rows, columns = (length // side for length in own.shape)
        self.own = own.reshape(rows, side, columns, side).swapaxes(1, 2)
        self.windows = sliding_window_view(planes, (1, side, side))[:, :, :, 0]
        self.limits = np.array(self.windows.shape[1:3]) - 1
        self.places = side * np.moveaxis(np.indices((rows, columns)), 0, 2) + np.array(origin)

    def errors(self, vectors: Vectors, blocks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Mean squared errors of some blocks (n,); `vectors`: (rows, columns, 2), of all."""
        whole, phase = np.divmod(vectors[blocks], self.unit)
        y, x = (self.places[blocks] + whole).clip(0, self.limits).T
        off = self.windows[phase[:, 0] * self.unit + phase[:, 1], y, x] - self.own[blocks]
        return np.square(off).mean((1, 2), dtype=np.float64)

    def costs(self, vectors: Vectors) -> NDArray[np.float64]:
        """Bits of all blocks (rows, columns)."""
        everywhere = np.ones(vectors.shape[:2], np.bool_)
        bits = worth(self.errors(vectors, everywhere), self.step, self.pixels)
        return bits.reshape(everywhere.shape) + self._spent(vectors, vectors)

    def refined(self, vectors: Vectors, reach: int) -> Vectors:
        """Each vector, or one of the eight that are `reach` from it."""
        steps = [(dy, dx) for dy in (-reach, 0, reach) for dx in (-reach, 0, reach) if dy or dx]
        return self.best(vectors, [vectors + np.array(step) for step in steps])

    def smoothed(self, vectors: Vectors) -> Vectors:
        """Each vector, or a neighbour's, or what the neighbours say."""
        padded = np.pad(vectors, ((1, 1), (1, 1), (0, 0)), mode="edge")
        beside = [padded[1:-1, :-2], padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1]]
        return self.best(vectors, [*beside, expected(vectors), np.zeros_like(vectors)])

    def best(self, vectors: Vectors, others: list[Vectors]) -> Vectors:
        """Of each square that vector, or the one of others', that costs least."""
        best, least = vectors.copy(), self.costs(vectors)
        for candidate in others:
            cost = self._spent(candidate, vectors)
            promising = (cost < least) & (candidate != best).any(2)  # no error is below 0
            if self.some is not None:
                promising &= self.some
            cost[promising] += worth(self.errors(candidate, promising), self.step, self.pixels)
            better = promising & (cost < least)
            best[better], least[better] = candidate[better], cost[better]
        return best

    def _spent(self, vectors: Vectors, beside: Vectors) -> NDArray[np.float64]:
        """Bits of vectors, each among what `beside` says of its neighbours."""
        return spent((vectors - expected(beside)) * (PHASES // self.unit))


def expected(vectors: Vectors) -> Vectors:
    """What neighbours say of each vector, about as `entropy.motion.predicted` has it."""
    padded = np.pad(vectors, ((1, 0), (1, 1), (0, 0)), mode="edge")
    west, north, east = padded[1:, :-2], padded[:-1, 1:-1], padded[:-1, 2:]
    middle: Vectors = np.maximum(np.minimum(west, north), np.minimum(np.maximum(west, north), east))
    return middle


def _still(reference: Aligned, place: Span) -> Vectors:
    """Vectors in the picture that undo the alignment: of what has not moved, where most of a picture has."""
    rows, columns = (np.arange(s.start, s.stop) for s in place)
    corners = reference.corners(*(slice(s.start, s.stop + 1) for s in place))
    there = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    here = SIDE * UNIT * (np.stack(np.meshgrid(rows, columns, indexing="ij"), 2) + 0.5)
    return np.rint((here - there) * PHASES / UNIT).astype(np.int64)


def _in_reference(vectors: Vectors, reference: Aligned, place: Span) -> Vectors:
    """Vectors in the picture as the file has them: in the reference, which may be larger, or turned."""
    rows, columns = (slice(s.start, s.stop + 1) for s in place)
    corners = reference.corners(rows, columns) / (SIDE * UNIT)
    down = enlarged((corners[1:] - corners[:-1])[:, :-1], CELLS)
    across = enlarged((corners[:, 1:] - corners[:, :-1])[:-1], CELLS)
    moved = vectors[..., :1] * down + vectors[..., 1:] * across
    return np.rint(moved).clip(-REACH, REACH - 1).astype(np.int64)
