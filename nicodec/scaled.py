"""Small pictures from large files (`decode --scale`): each pixel the average of a square of the picture.

Where nothing but the fidelity anchor is asked for, they come out of the latents alone (`nicodec.painters.reduced`),
many times as quickly, and are what the averages of the full picture are but for what g_s adds. All else is decoded in
full and averaged: other anchors and taus, files without latents or that refer to pictures, other codecs', alpha,
damaged files, and crops whose corner does not lie on a multiple of the scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nicodec.ahead import in_threads
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import decode_taus
from nicodec.container.drawn import SIDE
from nicodec.container.layout import Box, SectionType
from nicodec.container.reader import NicFile
from nicodec.entropy.integer import BLAS_BUFFER
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.drawn import blank
from nicodec.image.kept import unpack_blocks, unpack_metadata
from nicodec.image.metadata import with_size
from nicodec.image.picture import Picture, Pixels
from nicodec.image.shrink import averaged, shrink
from nicodec.latents.geometry import enlarged
from nicodec.memory import check_memory
from nicodec.options import DecodeOptions
from nicodec.painters.reduced import needed, synthesise_reduced
from nicodec.streams import decode_symbols


def decode_scaled(file: NicFile, data: bytes, options: DecodeOptions, crop: Box) -> list[Picture]:
    """The pictures of `codec.decode_taus`, at 1/scale: ceil(w/scale) x ceil(h/scale) pixels of a crop of w x h.

    Raises: as `codec.decode_taus`.
    """
    header, scale = file.header, options.scale
    width, height = (-(-side // scale) * scale for side in (crop.width, crop.height))
    # All of the last squares, as far as there is a picture.
    crop = Box(crop.left, crop.top, min(width, header.width - crop.left), min(height, header.height - crop.top))
    if not is_quick(file, options, crop):
        box = (crop.left, crop.top, crop.width, crop.height)
        return [shrink(picture, scale) for picture in decode_taus(data, replace(options, scale=1, crop=box))]
    check_memory(file, options, crop)
    decoder = OwnDecoder(file, options.engine, options.device)
    base = decoder.model.base if decoder.references is None else decoder.referred.base
    pixels = synthesise_reduced(_parse(decoder, needed(crop, header)), header, base, crop, scale)
    _draw(file, pixels, crop, scale)
    blocks = unpack_metadata(file)
    return [with_size(Picture(pixels, None, blocks.get("icc"), blocks.get("exif"), blocks.get("xmp")))]


def is_quick(file: NicFile, options: DecodeOptions, crop: Box) -> bool:
    """Whether the latents alone give what is asked for."""
    plain = options.anchor == "fidelity" and options.taus == (0.0,) and not options.best_effort
    on_squares = crop.left % options.scale == crop.top % options.scale == 0
    own = SectionType.SQ in file.sections and not file.header.referring
    return plain and on_squares and own and SectionType.ALPHA not in file.sections


def _parse(decoder: OwnDecoder, wanted: list[Box]) -> Iterator[tuple[Box, TileSymbols]]:
    """Tile by tile, some ahead of what is painted, so that few are held at once.

    All of a tile is parsed, not only its low frequencies: every slice of the latent holds some, as the components are
    dealt out to the slices in turn; and the CRC is over all symbols.
    """

    def parse(tile: Box) -> TileSymbols:
        return decode_symbols(decoder.file, decoder.model, None, {tile})[tile]

    return zip(wanted, in_threads(parse, wanted, each=BLAS_BUFFER), strict=True)


def _draw(file: NicFile, pixels: Pixels, crop: Box, scale: int) -> None:
    """Lay the drawn blocks, averaged, over `pixels`; no square is cut by a block's edge."""
    drawn = unpack_blocks(file)
    if drawn is None:
        return
    exact = blank(file.header, crop)
    drawn.paint(exact, crop)
    finer = SIDE // scale
    mask = enlarged(drawn.mask, finer)[crop.top // scale :, crop.left // scale :]
    covered = mask[: pixels.shape[0], : pixels.shape[1]]
    pixels[covered] = averaged(exact, scale)[covered]
