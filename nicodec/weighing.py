"""Networks, drawing, or both: the encoder makes the files and takes the one that costs least (see `drawing`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nicodec.bases.own_encoder import OwnEncoder
from nicodec.container.drawn import SIDE
from nicodec.container.layout import STRIDE, Box, Header, Section, tiles
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.drawing import SPILT, Bits, Sketch, block_errors, by_block, drawn_section, may_mix, smoothed
from nicodec.entropy.coder import cost_map
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.drawn import Mask, grid
from nicodec.image.picture import Picture
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import PATCH
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.rate.scale import lambda_from_rate


@dataclass(frozen=True, eq=False)
class Coded:
    """A picture's file with the networks' streams, and what they were made with."""

    data: bytes
    header: Header
    base: FloatPath
    symbols: Sequence[TileSymbols]


def lightest(
    picture: Picture, sketch: Sketch, plain: Coded, drawn: bytes, encoder: OwnEncoder, kept: Sequence[Section]
) -> bytes:
    """The file of the least cost: `plain`, `drawn`, or some blocks drawn beside the networks' picture.

    Args:
        sketch: of the picture.
        drawn: the file that draws all of it.
        encoder: what made `plain`.
        kept: sections that any file has.

    Raises: as `codec.encode_picture`.
    """
    errors = errors_of(picture, plain)
    size = read_file(plain.data).without_tokens.size
    files = {8 * size + errors.sum(): plain.data, 8.0 * len(drawn): drawn}
    mask, _ = sketch.chosen(picture.pixels, SPILT * (bits_of(plain.header, plain.symbols, encoder) + errors))
    if mask.any() and not mask.all() and may_mix(encoder.options):
        mixed = mix(picture, mask, plain.header.rate, encoder, kept)
        files[8 * len(mixed.data) + errors_of(picture, mixed)[~mask].sum()] = mixed.data
    return files[min(files)]


def mix(picture: Picture, mask: Mask, rate: int, encoder: OwnEncoder, kept: Sequence[Section]) -> Coded:
    """Draw the blocks of `mask`, and leave the rest to the networks."""
    under = replace(picture, pixels=smoothed(picture.pixels, mask))
    alone = encoder.alone()
    coded = alone.code(alone.analyse(under), rate, keep=True)
    header = replace(coded.header, version=2)
    drawn = drawn_section(picture.pixels, mask, header, encoder.options)
    return Coded(write_file(header, [*coded.sections, drawn, *kept]), header, coded.base, coded.symbols)


def errors_of(picture: Picture, coded: Coded) -> Bits:
    """The error of each block, in bits, where the base alone paints it: (rows, columns)."""
    header = coded.header
    held = dict(zip(tiles(header.width, header.height), coded.symbols, strict=True))
    whole = Box(0, 0, header.width, header.height)
    (decoded,) = Synthesis(header, Experts(coded.base)).paint(held, whole)
    return block_errors(picture.pixels, decoded, lambda_from_rate(header.rate, coded.base.lambda_max))


def bits_of(header: Header, symbols: Sequence[TileSymbols], encoder: OwnEncoder) -> Bits:
    """What each block takes in the SQ stream: (rows, columns)."""
    rows, columns = grid(header.height, header.width)
    each = SIDE // PATCH
    bits = np.zeros((rows + STRIDE // SIDE, columns + STRIDE // SIDE))
    for tile, held in zip(tiles(header.width, header.height), symbols, strict=True):
        assert encoder.scales is not None
        assert held.latent is not None
        part = by_block(cost_map(encoder.scales, held.latent), each)
        top, left = tile.top // SIDE, tile.left // SIDE
        bits[top : top + len(part), left : left + part.shape[1]] = part
    return bits[:rows, :columns]
