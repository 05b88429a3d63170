"""How a reference lies under a picture: one homography and one brightness for all of it. The encoder's, so floats.

Coarse to fine: a translation by phase correlation, then homographies fitted to the vectors of blocks, those that do not
agree weighing little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.container.references import GAIN, GAINS, OFFSETS, UNLIT, Alignment
from nicodec.image.picture import Pixels
from nicodec.latents.geometry import Array
from nicodec.references.homography import Matrix, apply, corners_of, fit, scaled, to_corners, warped

Move = tuple[int, int]  # x and y in pixels

SMALLEST = 16  # pixels of a side from which on blocks tell anything
COARSEST = 96  # pixels of the shorter side, about, at which the search begins
BLOCK = 8  # pixels along a side of a block, at any scale
REACHES = (6, 4, 3)  # pixels around its place that a block is searched in: at the coarsest scale, then finer ones
STILL = 0.97  # of the error of what has moved by whole pixels, at which it is taken to have done so
LIKELY = 6  # moves that are tried
SPARSE = 5  # rows of which one tells whether a move is right
OFF = 12.0  # levels, beyond which an error says no more
FITS = 5  # rounds of reweighting
OUTLIER = 0.7  # pixels off at which a block's weight is a quarter
CELL = 8  # pixels along a side of what brightness is fitted to
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luma(pixels: Pixels) -> Array:
    """(H, W, 1 or 3) to (H, W) float32, 0..255."""
    return pixels.astype(np.float32) @ LUMA if pixels.shape[2] == 3 else pixels[:, :, 0].astype(np.float32)


def align(pixels: Pixels, reference: Pixels) -> Alignment:
    """The alignment of a reference (h, w, C) under a picture (H, W, C); where either is very small, none."""
    if min(*pixels.shape[:2], *reference.shape[:2]) < SMALLEST:
        return Alignment()
    pyramid, below = pyramid_of(luma(pixels)), pyramid_of(luma(reference))
    depth = min(len(pyramid), len(below)) - 1
    finest = 1 if depth > 1 else 0  # what is between pixels there is told by hundreds of blocks together
    matrix = np.eye(3)
    matrix[:2, 2] = translation(pyramid[depth], below[depth])
    for level in range(depth, finest - 1, -1):
        reach = REACHES[min(depth - level, len(REACHES) - 1)]
        matrix = refined(pyramid[level], below[level], matrix, reach)
        if level > finest:
            matrix = scaled(matrix, 2)
    matrix = refined(pyramid[finest], below[finest], matrix, 1)  # again: parabolas are right about what is near 0
    moves = [(2**finest * x, 2**finest * y) for x, y in peaks(pyramid[finest], below[finest], LIKELY)]
    matrix = straight(pyramid[0], below[0], scaled(matrix, 2**finest), moves)
    light = brightness(reduced(pixels, finest), reduced(reference, finest), scaled(matrix, 0.5**finest))
    return Alignment(to_corners(matrix, pixels.shape[1], pixels.shape[0]), light)


def reduced(pixels: Pixels, halvings: int) -> Array:
    """Pixels (H, W, C) at a lower resolution, float32."""
    planes = [pixels[:, :, channel].astype(np.float32) for channel in range(pixels.shape[2])]
    for _ in range(halvings):
        planes = [halved(plane) for plane in planes]
    return np.stack(planes, 2)


def pyramid_of(plane: Array) -> list[Array]:
    """A plane at its own size, then at halves."""
    planes = [plane]
    while min(planes[-1].shape) >= 2 * COARSEST:
        planes.append(halved(planes[-1]))
    return planes


def halved(plane: Array) -> Array:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in plane.shape)
    lines = plane[:height:2, :width] + plane[1:height:2, :width]
    return (lines[:, ::2] + lines[:, 1::2]) * np.float32(0.25)


def translation(plane: Array, reference: Array) -> Move:
    """Where (x, y) the reference has the picture's origin, in whole pixels."""
    places = ((0, 0), *peaks(plane, reference, 1))
    return min(places, key=lambda place: dissimilarity(plane, reference, place))


def peaks(plane: Array, reference: Array, count: int) -> list[Move]:
    """Where (x, y) the reference most likely has the picture's origin, in whole pixels, by phase correlation.

    Up to `count` places that are no neighbours.
    """
    shape = tuple(2 * max(lengths) for lengths in zip(plane.shape, reference.shape, strict=True))
    spectra = []
    for each in (plane, reference):
        window = np.outer(*(np.hanning(length + 2)[1:-1] for length in each.shape))
        spectra.append(np.fft.rfft2((each - each.mean()) * window, shape))
    cross = spectra[1] * np.conj(spectra[0])
    power = np.abs(cross)
    found = np.fft.irfft2(cross / (power + max(1e-3 * power.max(), 1e-9)), shape)  # of one colour, nothing is told
    highest = np.argpartition(-found, 8 * count, axis=None)[: 8 * count]
    highest = highest[np.argsort(-found.ravel()[highest])]
    y, x = (np.where(at > n // 2, at - n, at) for at, n in zip(np.unravel_index(highest, shape), shape, strict=True))
    places: list[Move] = []
    for right, below in zip(x.tolist(), y.tolist(), strict=True):
        if all(max(abs(right - a), abs(below - b)) > 1 for a, b in places):
            places.append((right, below))
    return places[:count]


def straight(plane: Array, reference: Array, matrix: Matrix, moves: Sequence[Move]) -> Matrix:
    """Not a homography but a plain move, none or one by whole pixels, if it fits about as well: copies stay sharp.

    Args:
        moves: that are tried, with those by one pixel more or less.
    """
    own, other = flat(plane), flat(reference)
    around = {(right + x, below + y) for right, below in moves for y in (-1, 0, 1) for x in (-1, 0, 1)}
    errors = {move: _misses(own, other, *move) for move in {(0, 0), *around}}
    best = min(errors, key=lambda move: errors[move])
    if errors[best] < OFF / 2 and STILL * errors[best] <= unlike(plane, reference, matrix):
        matrix = np.eye(3)
        matrix[:2, 2] = best
    return matrix


def _misses(plane: Array, reference: Array, x: int, y: int) -> float:
    """As `unlike`, of flat planes, moved by whole pixels; OFF where less than a quarter overlaps."""
    rows, columns = (
        slice(max(0, -way), min(length, other - way))
        for way, length, other in zip((y, x), plane.shape, reference.shape, strict=True)
    )
    if 4 * max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start) < plane.size:
        return OFF
    own = plane[rows, columns]
    other = reference[rows.start + y : rows.stop + y, columns.start + x : columns.stop + x]
    return float(np.minimum(np.abs(other[::SPARSE] - own[::SPARSE]), OFF).mean())


def unlike(plane: Array, reference: Array, matrix: Matrix) -> float:
    """The mean error of what is seen through a homography, in levels; what has nothing to do with it counts little."""
    moved, inside = warped(reference, matrix, plane.shape)
    return float(np.minimum(np.abs(flat(moved) - flat(plane)), OFF)[inside].mean()) if inside.any() else OFF


def dissimilarity(plane: Array, reference: Array, place: Move) -> float:
    """One minus the correlation of what overlaps; 1 where less than a quarter does."""
    matrix = np.eye(3)
    matrix[:2, 2] = place
    moved, inside = warped(reference, matrix, plane.shape)
    if inside.mean() < 0.25:
        return 1.0
    a, b = plane[inside], moved[inside]
    return 1 - float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 1.0


@dataclass(frozen=True, eq=False)
class Matches:
    """Where blocks lie: centres (n, 2) and vectors (n, 2), x and y, and how sharply each is told (n,)."""

    centres: NDArray[np.float64]
    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]


def match(plane: Array, moved: Array, inside: NDArray[np.bool_], reach: int) -> Matches:
    """Blocks of a plane in another, up to `reach` pixels around their own places, whatever their brightness."""
    rows, columns = (length // BLOCK for length in plane.shape)
    height, width = rows * BLOCK, columns * BLOCK
    a = flat(plane)[:height, :width]
    padded = np.pad(flat(moved), reach, mode="edge")
    side = 2 * reach + 1
    errors = np.empty((side, side, rows, columns), np.float32)
    for dy in range(side):
        for dx in range(side):
            errors[dy, dx] = sums(np.square(padded[dy : dy + height, dx : dx + width] - a), BLOCK)
    best = errors.reshape(side * side, -1).argmin(0)
    y, x = np.divmod(best, side)
    r, c = np.divmod(np.arange(rows * columns), columns)
    own = errors[y, x, r, c]
    inner = (y > 0) & (y < side - 1) & (x > 0) & (x < side - 1)
    vectors, sharp = [], np.inf
    for axis, at in ((1, x), (0, y)):
        step = np.array([1, 0]) if axis == 0 else np.array([0, 1])
        low, high = (
            errors[np.clip(y + s * step[0], 0, side - 1), np.clip(x + s * step[1], 0, side - 1), r, c] for s in (-1, 1)
        )
        bend = np.maximum(low + high - 2 * own, 1e-3)
        vectors.append(at - reach + np.clip((low - high) / (2 * bend), -0.5, 0.5))
        sharp = np.minimum(sharp, bend)
    covered = inside[:height, :width].reshape(rows, BLOCK, columns, BLOCK).all((1, 3)).ravel()
    weights = np.where(inner & covered, sharp / (own + sharp + 4 * BLOCK**2), 0)
    centres = np.stack([(c + 0.5) * BLOCK, (r + 0.5) * BLOCK], 1)
    return Matches(centres, np.stack(vectors, 1).astype(np.float64), weights.astype(np.float64))


def flat(plane: Array) -> Array:
    """A plane less the means around each pixel: brightness does not matter then."""
    sums = np.pad(plane.astype(np.float64), BLOCK, mode="edge").cumsum(0).cumsum(1)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    side = 2 * BLOCK + 1
    whole = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return plane - (whole / side**2).astype(np.float32)


def refined(plane: Array, reference: Array, matrix: Matrix, reach: int) -> Matrix:
    """A homography that fits better than `matrix`; that one, where nothing tells."""
    moved, inside = warped(reference, matrix, plane.shape)
    found = match(plane, moved, inside, reach)
    if (found.weights > 0).sum() < 8:
        return matrix
    targets = apply(matrix, found.centres + found.vectors)
    fitted = matrix
    for turn in range(FITS):
        off = np.hypot(*(apply(fitted, found.centres) - targets).T)
        scale = max(OUTLIER, reach / 2**turn)
        weights = found.weights / np.square(1 + np.square(off / scale))
        trusted = weights.sum() ** 2 / np.square(weights).sum()
        fitted = fit(found.centres, targets, weights, plane.shape, bent=trusted > 24)
    spread = np.hypot(*(apply(fitted, corners_of(plane.shape)) - apply(matrix, corners_of(plane.shape))).T).max()
    return fitted if np.isfinite(spread) and spread < max(plane.shape) / 2 else matrix


def brightness(picture: Array, reference: Array, matrix: Matrix) -> tuple[tuple[int, int], ...]:
    """The gain and offset of each channel that make a reference as bright as a picture (H, W, C), where they agree."""
    height, width = (length // CELL * CELL for length in picture.shape[:2])
    light = []
    for channel in range(picture.shape[2]):
        moved, inside = warped(reference[:, :, channel], matrix, picture.shape[:2])
        a, b = (means(plane[:height, :width]) for plane in (moved, picture[:, :, channel]))
        use = (means(inside[:height, :width].astype(np.float32)) == 1) & (a > 2) & (a < 253) & (b > 2) & (b < 253)
        light.append(_line(a[use].astype(np.float64), b[use].astype(np.float64)))
    light = light if len(light) == 3 else light * 3
    return tuple(light) if max(abs(g - GAIN) / 4 + abs(o) for g, o in light) > 2 else UNLIT


def means(plane: Array) -> Array:
    """Of cells, flat."""
    return sums(plane, CELL).ravel() / np.float32(CELL**2)


def sums(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Sums over squares of `side` values, whole ones: (H, W) to (rows, columns)."""
    rows, columns = (length // side for length in plane.shape)
    lines = plane.reshape(rows, side, -1).sum(1)
    return lines.reshape(rows, columns, side).sum(2)


def _line(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[int, int]:
    """Gain and offset from a to b, outliers weighing little; as the file says them."""
    gain, offset = 1.0, 0.0
    if len(a) < 16:
        return GAIN, 0
    for turn in range(2 * FITS):
        off = gain * a + offset - b
        scale = max(2.0, 16 / 2**turn) + (np.median(np.abs(off)) if turn < FITS else 0)
        weights = 1 / np.square(1 + np.square(off / scale))
        total = weights.sum()
        middle = (weights @ a) / total, (weights @ b) / total
        spread = weights @ np.square(a - middle[0]) + 4 * total
        gain = (weights @ ((a - middle[0]) * (b - middle[1])) + 4 * total) / spread
        offset = middle[1] - gain * middle[0]
    whole = round(gain * GAIN), round(4 * offset)
    inside = whole[0] in GAINS and whole[1] in OFFSETS
    return whole if inside else (GAIN, 0)
