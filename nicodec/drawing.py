"""What of a picture is drawn: a guess by pixels alone, the choice by real bits, and what the networks see there.

Everything is compared by one sum, in bits: those that are written, and `weight · 255^2 · MSE` for each pixel, where the
weight is the lambda that training gave error (`lambda_from_rate`). A drawn block has no error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.container.drawn import SIDE
from nicodec.container.layout import Header, Section, SectionType
from nicodec.image.drawn import Mask, cover, grid, pack_drawn, unpack_drawn
from nicodec.image.lossless import colours
from nicodec.image.picture import Pixels
from nicodec.options import EncodeOptions

QUICK = 1  # effort at which streams are made that are only measured
THIN = 16  # pixels: of a side below it, the networks would see four times as many as there are, or more
NOVEL = 0.4  # a block with a larger share of pixels unlike both the left and the upper one is none, unless its
FEW = 12  # colours, in a sample of 64 pixels, are no more than these
NOVEL_BITS, OTHER_BITS = 8.0, 0.002  # what such a pixel costs without loss, where colours are many; and any other
LEAST_BITS = 4.0  # that a block costs in the SQ stream, whatever it shows
WORTHWHILE = 0.005  # bits a pixel that drawing a part must gain: the networks' picture may hold more beside it
CLEAR = 0.4  # share of the bits that drawing must save, for the guess to be trusted
SPILT = 1.5  # by what blocks left among drawn ones cost the networks more than is estimated: edges all around
ROUNDS = 3  # of the choice; each packs what the last one chose
Bits = NDArray[np.float64]
Values = NDArray[np.float32]
DCT = np.sqrt(2 / SIDE) * np.cos(np.pi / SIDE * np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5))
DCT[0] /= np.sqrt(2)
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


@dataclass(frozen=True, eq=False)
class Sketch:
    """Blocks that may be cheaper to draw.

    Attributes:
        mask: (rows, columns): which.
        few: (rows, columns): which have few colours.
        drawn: bits that each block takes without loss, estimated.
        coded: what each block takes in the SQ stream, error included, estimated; 0 where the mask is not set.
    """

    mask: Mask
    few: Mask
    drawn: Bits
    coded: Bits

    @property
    def gain(self) -> float:
        """Bits that drawing may save."""
        return float((self.coded - self.drawn)[self.mask].clip(0).sum())

    def chosen(self, pixels: Pixels, coded: Bits) -> tuple[Mask, float]:
        """The blocks to draw, by real streams, where they cost `coded` in the SQ stream; and the bits that this saves.

        A block's share of a stream is what is estimated, made right by what the streams of all blocks with few colours,
        and of all with many, really take: the one estimate fails for gradients where the other holds for letters. What
        two blocks have in common, such as letters, they pay for once, so the shares change with the choice.
        """
        share = self._share(pixels)
        mask, most, best = self.mask & (share < coded), 0.0, np.zeros_like(self.mask)
        for _ in range(ROUNDS):
            if not mask.any():
                break
            real = stream_bits(pixels, mask)
            if (gain := float(coded[mask].sum() - real)) > most:
                most, best = gain, mask
            kept = self.mask & (share * (real / share[mask].sum()) < coded)
            if (kept == mask).all():
                break
            mask = kept
        return best, most

    def _share(self, pixels: Pixels) -> Bits:
        """What each block takes of the stream of its kind, in bits."""
        share = self.drawn.copy()
        for kind in (self.mask & self.few, self.mask & ~self.few):
            if kind.any():
                share[kind] *= stream_bits(pixels, kind) / share[kind].sum()
        return share


def stream_bits(pixels: Pixels, mask: Mask) -> int:
    """What drawing the blocks of `mask` takes."""
    return 8 * len(pack_drawn(pixels, mask, QUICK))


def sketch(pixels: Pixels, weight: float) -> Sketch:
    """What pixels (H, W, 1 or 3) alone say. Quick: photographs are to lose no time by it."""
    number = colours(pixels)
    unlike = np.ones(number.shape, np.bool_)
    unlike[:, 1:] = number[:, 1:] != number[:, :-1]
    unlike[1:] &= number[1:] != number[:-1]
    shape = grid(*number.shape)
    novel = by_block(unlike)
    sample = np.sort(in_blocks(number)[:, 9::16], 1)
    kinds = 1 + (sample[:, 1:] != sample[:, :-1]).sum(1).reshape(shape)
    area = by_block(np.ones(number.shape, np.bool_))
    few = kinds <= FEW
    mask = (novel <= NOVEL * area) | few
    each = np.where(few, np.minimum(NOVEL_BITS, 1 + np.log2(kinds)), NOVEL_BITS)
    drawn = novel * each + OTHER_BITS * area
    coded = np.zeros(shape)
    if mask.any():
        coded[mask] = LEAST_BITS + transform_cost(in_blocks(pixels)[mask.ravel()], weight)
    return Sketch(mask, few, drawn, coded)


def in_blocks(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """(H, W) or (H, W, C) to (blocks, SIDE², ...), in raster order; edges repeat."""
    rows, columns = grid(*array.shape[:2])
    spare = (rows * SIDE - array.shape[0], columns * SIDE - array.shape[1])
    padded = np.pad(array, ((0, spare[0]), (0, spare[1]), *((0, 0),) * (array.ndim - 2)), mode="edge")
    cells = padded.reshape(rows, SIDE, columns, SIDE, *array.shape[2:]).swapaxes(1, 2)
    return cells.reshape(rows * columns, SIDE * SIDE, *array.shape[2:])


def by_block(values: NDArray[np.generic], side: int = SIDE) -> Bits:
    """Sums over squares of `side` values: (H, W) to (rows, columns)."""
    edges = (np.arange(0, length, side) for length in values.shape)
    rows, columns = edges
    return np.add.reduceat(np.add.reduceat(values, rows, 0, np.float64), columns, 1)


def transform_cost(blocks: NDArray[np.generic], weight: float) -> Bits:
    """What a transform codec makes of blocks (n, SIDE², 1 or 3), in bits, error included.

    Three quarters of what base1 takes for text, at any quality, and less of what is flatter.
    """
    spread = np.broadcast_to(blocks, (*blocks.shape[:2], 3)) if blocks.shape[2] == 1 else blocks
    planes = spread @ OPPONENT.T if blocks.shape[2] == 3 else spread[..., :1] * np.sqrt(3)
    cells = np.moveaxis(planes.reshape(len(blocks), SIDE, SIDE, -1), 3, 1)
    parts = DCT @ cells @ DCT.T
    parts[1:, :, 0, 0] = np.diff(parts[:, :, 0, 0], axis=0)
    parts[0, :, 0, 0] = 0
    error = weight / 3 * np.square(parts)
    return np.minimum(error, 1 + 0.5 * np.log2(1 + error)).reshape(len(blocks), -1).sum(1)


@dataclass(frozen=True, eq=False)
class Guess:
    """What is known before any network runs.

    Attributes:
        mask: (rows, columns) of blocks: what is drawn; none, all, or some.
        sketch: of a picture that is no photograph, where the guess is too near to be trusted; None: it is.
        photograph: whether pixels say that it is one: next to nothing in it would be cheaper to draw.
    """

    mask: Mask
    sketch: Sketch | None = None
    photograph: bool = False

    @property
    def draws(self) -> bool:
        """Whether some of it is drawn, or may be."""
        return self.sketch is not None or bool(self.mask.any())


def guess(pixels: Pixels, options: EncodeOptions, weight: float) -> Guess:
    """What of a picture (H, W, 1 or 3) is drawn, by pixels alone."""
    height, width, _ = pixels.shape
    nothing = np.zeros(grid(height, width), np.bool_)
    if options.streams == "vq":
        return Guess(nothing)
    if options.drawn != "off" and (options.drawn == "all" or min(height, width) < THIN):
        return Guess(~nothing)
    found = sketch(pixels, weight)
    worthwhile, all_drawing = WORTHWHILE * height * width, bool(found.mask.all())
    if not all_drawing and found.gain < worthwhile:
        return Guess(nothing, photograph=True)
    if options.drawn == "off":
        return Guess(nothing)
    coded = SPILT * found.coded
    if all_drawing and stream_bits(pixels, ~nothing) <= (1 - CLEAR) * coded.sum():
        return Guess(
            ~nothing
        )  # a part that the networks would do for less is hardly worth what they cost to begin with
    mask, gain = found.chosen(pixels, coded)
    if mask.any() and gain >= max(worthwhile, CLEAR * coded[mask].sum()) and (mask.all() or may_mix(options)):
        return Guess(mask)
    return Guess(nothing, found if all_drawing or (gain >= worthwhile and may_mix(options)) else None)


def drawn_section(pixels: Pixels, mask: Mask, header: Header, options: EncodeOptions) -> Section:
    """The DRAWN section of a picture (H, W, 1 or 3).

    Raises:
        InexactError, CorruptFileError: the blocks do not come back from it (with `options.verify`).
    """
    payload = pack_drawn(pixels, mask, options.effort)
    if options.verify:
        unpack_drawn(payload, header)
    return Section(SectionType.DRAWN, payload)


def may_mix(options: EncodeOptions) -> bool:
    """Whether drawn blocks may stand beside an SQ stream: nothing is asked for that a file with both cannot have."""
    return not options.asks_for_tokens and not isinstance(options.references, int)


def block_errors(pixels: Pixels, decoded: Pixels, weight: float) -> Bits:
    """The error of each block in bits: (rows, columns)."""
    squares = np.square(pixels.astype(np.float32) - decoded).mean(2)
    return weight * by_block(squares)


def smoothed(pixels: Pixels, mask: Mask) -> Pixels:
    """A picture with something under its drawn blocks that costs next to nothing: what lies around them, diffused."""
    known = ~cover(mask, (pixels.shape[0], pixels.shape[1]))
    filled = _diffused(pixels.astype(np.float32), known[:, :, None].astype(np.float32))
    return np.where(known[:, :, None], pixels, np.round(filled).astype(np.uint8))


def _diffused(values: Values, weights: Values) -> Values:
    """Fill (h, w, C) where weights (h, w, 1) are 0: from half the resolution, filled likewise."""
    height, width = values.shape[:2]
    if weights.all() or max(height, width) == 1:
        return values
    spare = ((0, height % 2), (0, width % 2), (0, 0))
    halved = []
    for plane in (values * weights, weights):
        padded = np.pad(plane, spare)
        halved.append(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1).sum((1, 3)))
    totals, counts = halved
    coarse = _diffused(totals / np.maximum(counts, 1), np.minimum(counts, 1))
    fine = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    for axis in (0, 1):
        ends = [(1, 1) if axis == each else (0, 0) for each in range(3)]
        padded = np.pad(fine, ends, mode="edge")
        before, after = (np.take(padded, range(i, i + fine.shape[axis]), axis) for i in (0, 2))
        fine = (before + 2 * fine + after) / 4
    return np.where(weights > 0, values, fine)
