"""The encoder's way with references: which of those that are offered a picture is coded with, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nicodec.container.layout import MAX_REFERENCES, STRIDE, Section, SectionType
from nicodec.container.reader import read_file
from nicodec.container.references import Reference, write_aligned
from nicodec.drawing import block_errors
from nicodec.entropy.motion import Motion
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Picture, Pixels
from nicodec.latents.analysis import Analysed
from nicodec.latents.effort import encode_tile
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import BLOCK, coarser, cut, in_pixels, to_input
from nicodec.latents.rates import to_rates
from nicodec.rate.tile import TileRate
from nicodec.references.align import align, flat, luma
from nicodec.references.classes import choose_classes, settled
from nicodec.references.expect import expect, in_colour
from nicodec.references.library import Library
from nicodec.references.look import likely
from nicodec.references.search import find_motion
from nicodec.references.warp import Aligned, warp

MIDDLE = 16  # positions of the latent to each side of a picture's middle, in whole blocks
AGREE = 0.25  # correlation of details from which on it is worth the time to try a reference


@dataclass(frozen=True, eq=False)
class Offered:
    """A reference that lies under a picture: what the file says of it, and its pixels."""

    reference: Reference
    aligned: Aligned


@dataclass(frozen=True, eq=False)
class Chosen:
    """A tile with its references: where it lies, what it takes, and what z says."""

    held: Analysed
    motion: Motion
    z_hat: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def offer(picture: Picture, library: Library) -> list[Offered]:
    """The pictures of a library, and what its dictionaries hold that looks like the picture, aligned with it.

    Raises:
        MissingReferenceError, LimitError, CorruptFileError: what they refer to themselves is not as it should be.
    """
    found = likely(picture.pixels, library.named)[: MAX_REFERENCES - len(library.given)]
    offered = []
    for held in (*library.given, *found):
        pixels = in_colour(library.pixels_of(held), picture.pixels.shape[2])
        alignment = align(picture.pixels, pixels)
        aligned = Aligned(pixels, alignment, picture.width, picture.height)
        if held.name is not None or agree(picture.pixels, aligned):
            offered.append(Offered(Reference(held.id, held.name, held.index, alignment), aligned))
    return offered


def agree(pixels: Pixels, aligned: Aligned) -> bool:
    """Whether a reference that was searched shows what the picture (H, W, C) does: by its middle, details alone."""
    rows, columns = (
        slice(middle - min(middle, MIDDLE), middle + min(middle, MIDDLE))
        for middle in (BLOCK * (-(-length // STRIDE) // 2) for length in pixels.shape[:2])
    )
    if rows.stop == rows.start or columns.stop == columns.start:
        return True
    nothing = Motion.none((rows.stop - rows.start) // BLOCK, (columns.stop - columns.start) // BLOCK)
    seen = flat(luma(warp([aligned], nothing, (rows, columns)))).ravel()
    own = flat(luma(cut(pixels, *in_pixels((rows, columns))))).ravel()
    return float(own @ seen) >= AGREE * float(np.linalg.norm(own) * np.linalg.norm(seen))


def section(offered: Sequence[Offered]) -> Section:
    """The REFERENCES section that names them."""
    return Section(SectionType.REFERENCES, write_aligned(tuple(each.reference for each in offered)))


def lighter(
    picture: Picture, alone: bytes, referring: bytes, decode: Callable[[bytes], Pixels], weight: float
) -> bytes:
    """Of two files the one of less bits and error: real bytes, tokens aside, and real pixels. `weight`: of errors."""

    def cost(data: bytes) -> float:
        tokens = read_file(data).payload(SectionType.VQ) or b""
        return 8 * (len(data) - len(tokens)) + block_errors(picture.pixels, decode(data), weight).sum()

    return min(alone, referring, key=cost)


def refer(
    analysed: Iterable[Analysed], offered: Sequence[Offered], base: FloatPath, scales: ScaleModel, rate: TileRate,
    effort: int,
) -> tuple[list[Offered], list[TileSymbols]]:  # fmt: skip
    """The references that a picture is coded with, of those that are offered, and its symbols; none: neither."""
    chosen = [_choose(held, offered, base, scales, rate) for held in analysed]
    used = sorted({int(source) for each in chosen for source in np.unique(each.motion.sources)} - {0})
    if not used:
        return [], []
    numbers = np.zeros(len(offered) + 1, np.uint8)
    numbers[used] = np.arange(1, len(used) + 1)
    kept = [offered[number - 1] for number in used]
    return kept, [
        _symbols(replace(each, motion=replace(each.motion, sources=numbers[each.motion.sources])), kept, base, scales,
                 rate, effort)
        for each in chosen
    ]  # fmt: skip


def _choose(held: Analysed, offered: Sequence[Offered], base: FloatPath, scales: ScaleModel, rate: TileRate) -> Chosen:
    aligned, place = [each.aligned for each in offered], (held.around, held.core)
    near = rate.cut(*coarser(held.around))
    y, z_hat = base.scaled(held.y, to_rates(near), held.core)
    found = find_motion(held.pixels, aligned, *place, rate.rate)
    own = y[:, :, held.core[0], held.core[1]]
    said = expect(base, aligned, found, *place)
    z_hat, classes = choose_classes(base, scales, own, z_hat, near.cut(*coarser(held.core)), said)
    return Chosen(held, settled(found, classes), z_hat)


def _symbols(
    chosen: Chosen, offered: Sequence[Offered], base: FloatPath, scales: ScaleModel, rate: TileRate, effort: int
) -> TileSymbols:
    held = chosen.held
    near = rate.cut(*coarser(held.around))
    y, _ = base.scaled(held.y, to_rates(near), held.core)
    said: Expected = expect(base, [each.aligned for each in offered], chosen.motion, held.around, held.core)
    latent = encode_tile(base, scales, to_input(held.pixels), y, chosen.z_hat, near, held.core, effort, expected=said)
    return TileSymbols(latent, None)
