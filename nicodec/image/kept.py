"""What a file keeps without loss: alpha and metadata beside the pixels, drawn blocks over them, and a whole JPEG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import NO_BASE, Colour, Section, SectionType
from nicodec.container.payloads import read_jpeg_section, read_packed
from nicodec.container.reader import NicFile
from nicodec.container.writer import write_packed
from nicodec.errors import CorruptFileError
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.image.drawn import Drawn, unpack_drawn
from nicodec.image.files import read_jpeg, read_jpeg_head
from nicodec.image.picture import Picture

METADATA_SECTIONS = {"icc": SectionType.ICC, "exif": SectionType.EXIF, "xmp": SectionType.XMP}


def kept_sections(picture: Picture) -> list[Section]:
    """Alpha and metadata of a picture."""
    alpha = [] if picture.alpha is None else [Section(SectionType.ALPHA, pack_alpha(picture.alpha))]
    blocks = {kind: getattr(picture, name) for name, kind in METADATA_SECTIONS.items()}
    return alpha + [Section(kind, write_packed(block)) for kind, block in blocks.items() if block]


def unpack_blocks(file: NicFile) -> Drawn | None:
    """The drawn blocks of a file, if it has any.

    Raises:
        CorruptFileError, InexactError: see `unpack_drawn`; or there are others, and no stream that would paint them.
    """
    payload = file.payload(SectionType.DRAWN)
    if payload is None:
        return None
    drawn = unpack_drawn(payload, file.header)
    if file.header.base_id == NO_BASE and not drawn.mask.all():
        raise CorruptFileError("the file has nothing but drawn blocks, and not all blocks are drawn")
    return drawn


def unpack_transparency(file: NicFile) -> NDArray[np.uint8] | None:
    """Alpha (H, W) of a file, if it has any."""
    payload = file.payload(SectionType.ALPHA)
    return None if payload is None else unpack_alpha(payload, file.header.height, file.header.width)


def unpack_jpeg(file: NicFile, damage: list[str] | None = None) -> Picture | None:
    """The picture of the JPEG that a file keeps, if it does. `damage`: as in `read_foreign`; for what could be read.

    Raises:
        CorruptFileError: it is none, is damaged, or is not the picture that the header says.
    """
    data, header = read_jpeg_section(file, damage), file.header
    if data is None:
        return None
    picture = read_jpeg(data, header.width, header.height, allow_damaged=damage is not None)
    if damage is not None:
        damage += [note for note in picture.notes if picture.jpeg is None]
    if (picture.width, picture.height, picture.grey) != (header.width, header.height, header.colour is Colour.GREY):
        raise CorruptFileError("the file's JPEG is not of the sides or the colour that its header says")
    return picture


def unpack_metadata(file: NicFile) -> dict[str, bytes]:
    """ICC, EXIF and XMP blocks of a file, by `Picture`'s names."""
    if (jpeg := read_jpeg_section(file)) is not None:
        head = read_jpeg_head(jpeg, file.header.width, file.header.height)
        return {name: block for name in METADATA_SECTIONS if (block := getattr(head, name))}
    return {
        name: read_packed(payload, f"the {name.upper()} section")
        for name, kind in METADATA_SECTIONS.items()
        if (payload := file.payload(kind)) is not None
    }
