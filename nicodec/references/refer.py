"""The encoder's way with references: which of those that are offered a picture is coded with, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nicodec.container.layout import MAX_REFERENCES, STRIDE, Section, SectionType
from nicodec.container.reader import read_file
from nicodec.container.references import Reference, Says, write_aligned
from nicodec.drawing import block_errors
from nicodec.engines import Networks
from nicodec.entropy.motion import Motion
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Picture, Pixels
from nicodec.latents.analysis import Analysed
from nicodec.latents.effort import encode_tile
from nicodec.latents.floats import Expected, FloatPath
from nicodec.latents.geometry import BLOCK, Array, coarser, cut, in_pixels, to_input
from nicodec.latents.rates import spread, to_rates
from nicodec.rate.tile import TileRate
from nicodec.references.align import align, flat, luma
from nicodec.references.classes import choose_classes, settled
from nicodec.references.expect import Sources, expect, in_colour
from nicodec.references.library import Library
from nicodec.references.look import likely
from nicodec.references.search import find_motion
from nicodec.references.warp import Aligned, warp

MIDDLE = 16  # positions of the latent to each side of a picture's middle, in whole blocks
AGREE = 0.25  # correlation of details from which on it is worth the time to try a reference
# The share of what a picture costs alone that it must cost with references, both estimated. Real files have differed by
# a tenth of it: in between, both are made and decoded.
CLEAR, VAIN = 0.8, 0.97


@dataclass(frozen=True, eq=False)
class Offered:
    """A reference that lies under a picture: what the file says of it, and its pixels."""

    reference: Reference
    aligned: Aligned


@dataclass(frozen=True, eq=False)
class Chosen:
    """A tile with its references: where it lies, what it takes, and what z says.

    Attributes:
        trust: as in `Sources`.
        said: by the references; None: not known of what is taken in the end.
        cost, alone: as in `Weighed`.
    """

    held: Analysed
    motion: Motion
    z_hat: Array
    trust: Networks | None
    said: Expected | None
    cost: float
    alone: float


@dataclass(frozen=True, eq=False)
class Referring:
    """The references that a picture is coded with, and its symbols.

    Attributes:
        y_hats: of each tile, what its symbols make of y, in natural units (1, M, 4h, 4w).
        seen: of each tile, what its motion makes of the references (16h, 16w, C).
        clear: so much less than without them that nobody need try that.
        doubted: whether trust tells of some position how far they are believed.
    """

    used: list[Offered]
    symbols: list[TileSymbols]
    y_hats: list[Array]
    seen: list[Pixels]
    clear: bool
    doubted: bool


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


def section(offered: Sequence[Offered], says: Says, trust: bytes | None) -> Section:
    """The REFERENCES section that names them. `says`, `trust`: as in `write_aligned`."""
    payload = write_aligned(tuple(each.reference for each in offered), says, trust)
    return Section(SectionType.REFERENCES, payload)


def lighter(
    picture: Picture, alone: bytes, referring: bytes, decode: Callable[[bytes], Pixels], weight: float
) -> bytes:
    """Of two files the one of less bits and error: real bytes, tokens aside, and real pixels. `weight`: of errors."""

    def cost(data: bytes) -> float:
        return 8 * read_file(data).without_tokens.size + block_errors(picture.pixels, decode(data), weight).sum()

    return min(alone, referring, key=cost)


def refer(
    analysed: Iterable[Analysed], offered: Sequence[Offered], base: FloatPath, scales: ScaleModel, rate: TileRate,
    effort: int, trust: Networks | None,
) -> Referring | None:  # fmt: skip
    """A picture with what it takes of the references that are offered; None: there is nothing to be gained.

    `trust`: as in `Sources`; it is left out where references as they stand cost less.
    """
    sources = Sources([each.aligned for each in offered], trust)
    ways = zip(*(_choose(held, sources, base, scales, rate) for held in analysed), strict=True)
    chosen = min(ways, key=lambda way: sum(each.cost for each in way))
    used = sorted({int(source) for each in chosen for source in np.unique(each.motion.sources)} - {0})
    share = sum(each.cost for each in chosen) / sum(each.alone for each in chosen)
    if not used or share > VAIN:
        return None
    numbers = np.zeros(len(offered) + 1, np.uint8)
    numbers[used] = np.arange(1, len(used) + 1)
    kept = [offered[number - 1] for number in used]
    sources = Sources([each.aligned for each in kept], chosen[0].trust)
    split = any(each.motion.splits is not None and each.motion.splits.any() for each in chosen)
    motions = [
        replace(each.motion, sources=numbers[each.motion.sources], splits=each.motion.splits if split else None)
        for each in chosen
    ]
    coded = [
        _coded(replace(each, motion=motion), sources, base, scales, rate, effort)
        for each, motion in zip(chosen, motions, strict=True)
    ]
    symbols, y_hats, seen = map(list, zip(*coded, strict=True))
    doubted = sources.trust is not None and any(motion.doubted.any() for motion in motions)
    return Referring(kept, symbols, y_hats, seen, share < CLEAR, doubted)


def _choose(held: Analysed, sources: Sources, base: FloatPath, scales: ScaleModel, rate: TileRate) -> Iterator[Chosen]:
    """As trust tells, if there is any, and without it."""
    place = held.around, held.core
    near = rate.cut(*coarser(held.around))
    y, z_hat = base.scaled(held.y, to_rates(near), held.core)
    found = find_motion(held.pixels, sources.aligned, *place, rate.rate)
    own = y[:, :, held.core[0], held.core[1]]
    said = expect(base, sources, found, *place)
    ways = choose_classes(base, scales, own, z_hat, near.cut(*coarser(held.core)), said)
    for weighed, trust in zip(ways, [sources.trust, None], strict=False):
        motion = settled(found, weighed.classes)
        stays = replace(said, motion=motion, trust=trust) if motion.sources.all() else None
        yield Chosen(held, motion, weighed.z_hat, trust, stays, weighed.cost, weighed.alone)


def _coded(
    chosen: Chosen, sources: Sources, base: FloatPath, scales: ScaleModel, rate: TileRate, effort: int
) -> tuple[TileSymbols, Array, Pixels]:
    """A tile's symbols, the y_hat that they make, and what it sees of the references."""
    held = chosen.held
    near = rate.cut(*coarser(held.around))
    y, _ = base.scaled(held.y, to_rates(near), held.core)
    if chosen.said is None:
        said = expect(base, sources, chosen.motion, held.around, held.core)
    else:
        said = replace(chosen.said, motion=chosen.motion)
    latent, y_hat = encode_tile(
        base, scales, to_input(held.pixels), y, chosen.z_hat, near, held.core, effort, expected=said
    )
    return TileSymbols(latent, None), y_hat * spread(base.ungain(to_rates(latent.rate)), y_hat), said.seen
