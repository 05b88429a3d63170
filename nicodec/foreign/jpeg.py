"""JPEG as a base: the file as it is in our container, its own picture, and a restored one on top."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nicodec.bases import Checked, Streams, header_of
from nicodec.container.layout import JPEG, NO_BASE, Anchor, Box, Foreign, Section, SectionType, foreign_shape
from nicodec.container.reader import NicFile
from nicodec.container.writer import write_foreign
from nicodec.errors import CorruptFileError, UnsupportedPictureError, UsageError
from nicodec.image.kept import unpack_jpeg
from nicodec.image.metadata import with_size
from nicodec.image.picture import Picture, Pixels
from nicodec.options import DecodeOptions
from nicodec.painters import Rendering
from nicodec.rate.tile import TileRate
from nicodec.zoo.model import Model

if TYPE_CHECKING:
    from nicodec.painters.restorer import Restorer


def keep_jpeg(picture: Picture) -> Streams:
    """A JPEG file's streams: itself.

    Raises:
        UnsupportedPictureError: the picture is no JPEG file's, or not as that has it.
    """
    if picture.jpeg is None:
        raise UnsupportedPictureError(
            "base jpeg keeps a JPEG file as it is, but the input is no JPEG, or not as it was (metadata, frame, damage)"
        )
    foreign = Foreign(JPEG, NO_BASE, foreign_shape(JPEG, picture.width, picture.height), [picture.jpeg.data])
    return Streams(header_of(picture, TileRate(0)), [Section(SectionType.FOREIGN, write_foreign(foreign))])


def decode_jpeg(
    file: NicFile, crop: Box, options: DecodeOptions, rendering: Rendering, damage: list[str] | None
) -> list[Picture]:
    """The picture of `crop` for each tau, as `codec.decode_taus` does; with the file, where it is the picture's own."""
    base = JpegDecoder(file, options, rendering, damage)
    picture = base.parse(crop)
    painted = base.synthesise(picture, crop)
    whole = options.crop is None and not options.restores and not damage
    noted = replace(picture, damage=tuple(damage or ()), jpeg=picture.jpeg if whole else None)
    pictures = [replace(noted, pixels=pixels) for pixels in painted]
    return pictures if options.crop is None else [with_size(each) for each in pictures]


class JpegDecoder:
    """JPEG at work on a file, see `bases.Decoder`.

    Args:
        damage: where to note what is damaged, instead of raising.
    """

    def __init__(
        self, file: NicFile, options: DecodeOptions, rendering: Rendering, damage: list[str] | None = None
    ) -> None:
        self.file, self.options, self.rendering, self.damage = file, options, rendering, damage

    def parse(self, crop: Box) -> Picture:
        """As `Decoder`: the whole JPEG's picture.

        Raises:
            CorruptFileError: see `unpack_jpeg`.
            UsageError: asked for perception: there are no tokens.
        """
        if self.rendering.anchor is not Anchor.FIDELITY:
            raise UsageError("the file is a JPEG and has no tokens; decode with --anchor fidelity, and a --tau")
        picture = unpack_jpeg(self.file, self.damage)
        assert picture is not None
        return picture

    def synthesise(self, parsed: Picture, crop: Box) -> list[Pixels]:
        """As `Decoder`: restored, if that is asked for.

        Raises:
            MissingPartError, DamagedPartError: a restorer is not installed, or not whole.
        """
        if not self.options.restores:
            return [np.ascontiguousarray(parsed.pixels[crop.slices])] * len(self.rendering.taus)
        if parsed.jpeg is None:
            raise CorruptFileError("a JPEG that is damaged is not restored; decode it without --tau")
        return self.restorer.paint(parsed.pixels, parsed.jpeg, crop, self.rendering)

    def verify(self) -> Checked:
        """As `Decoder`: the JPEG is read in full. Raises: as `parse`."""
        picture = self.parse(Box(0, 0, self.file.header.width, self.file.header.height))
        assert picture.jpeg is not None
        return Checked(jpeg_bytes=len(picture.jpeg.data))

    @cached_property
    def restorer(self) -> Restorer:
        """What restores it."""
        return Model.restoring(self.options.engine, self.options.device).restorer
