"""Whose picture a file holds: ours, another codec's, or a JPEG's. All do the same things for `codec`, a direction each.

An encoder analyses pictures and codes what it found; a decoder parses a file and synthesises its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nicodec.container.layout import NO_BASE, Box, Colour, Header, Hint, Section, SectionType, Tune
from nicodec.container.reader import NicFile
from nicodec.image.picture import Picture, Pixels
from nicodec.options import DecodeOptions
from nicodec.painters import PLAIN, Rendering
from nicodec.rate.tile import TileRate

if TYPE_CHECKING:
    from nicodec.references.library import Library


@dataclass(frozen=True, eq=False)
class Streams:
    """What a base makes of a picture: the header, and the sections with its streams."""

    header: Header
    sections: Sequence[Section]


@dataclass(frozen=True)
class Checked:
    """What was found to be as the encoder wrote it, without making a picture.

    Attributes:
        symbols: how many.
        unchecked: what could not be checked, a sentence.
        jpeg_bytes: of a JPEG, which can be read in full.
    """

    symbols: int = 0
    unchecked: str | None = None
    jpeg_bytes: int = 0


class Encoder(Protocol):
    """A base at work on pictures."""

    def analyse(self, picture: Picture) -> Any:
        """What no rate changes."""

    def code(self, analysed: Any, rate: int) -> Streams:
        """What `analyse` gave, at a rate. Raises: as `codec.encode_picture`."""


class Decoder(Protocol):
    """A base at work on a file."""

    def parse(self, crop: Box) -> Any:
        """All that the pixels of `crop` depend on. Raises: as `codec.decode_taus`."""

    def synthesise(self, parsed: Any, crop: Box) -> list[Pixels]:
        """What `parse` gave, as the pixels of `crop` (h, w, 3 or 1), for each tau. Raises: as `codec.decode_taus`."""

    def verify(self) -> Checked:
        """What is the encoder's. Raises: as `codec.decode_taus`."""


def find_decoder(
    file: NicFile, options: DecodeOptions, rendering: Rendering = PLAIN, damage: list[str] | None = None,
    library: Library | None = None,
) -> Decoder:  # fmt: skip
    """The base that a file names.

    Args:
        damage: where to note what is damaged, instead of raising.
        library: where the pictures are that the file refers to; None: no picture of it is to be made.
    """
    from nicodec.bases.own_decoder import OwnDecoder
    from nicodec.foreign.base import ForeignDecoder
    from nicodec.foreign.jpeg import JpegDecoder

    if file.holds_jpeg:
        return JpegDecoder(file, options, rendering, damage)
    if SectionType.FOREIGN in file.sections:
        return ForeignDecoder(file, options, rendering)
    return OwnDecoder(file, options.engine, options.device, rendering, damage, library)


def header_of(
    picture: Picture, rate: TileRate, base_id: bytes = NO_BASE, version: int = 2, tune: Tune | None = None,
    hint: Hint | None = None,
) -> Header:  # fmt: skip
    """The header of a picture's file."""
    colour, mapped = Colour.GREY if picture.grey else Colour.RGB, rate.levels is not None
    size = picture.width, picture.height
    return Header(*size, colour, 8, rate.rate, base_id, hint, version, tune, mapped)
