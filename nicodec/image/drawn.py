"""Drawn blocks: squares of a picture that are kept exactly, and lie over what the networks make (FORMAT.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.container.drawn import SIDE, DrawnPayload, read_drawn, write_drawn
from nicodec.container.layout import Box, Colour, Header
from nicodec.errors import InexactError
from nicodec.image.lossless import Method, pack, unpack
from nicodec.image.picture import Pixels

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The drawn blocks of a picture.

    Attributes:
        mask: (rows, columns) of blocks of SIDE pixels: which are drawn; one at least.
        sheet: (h, w, 1 or 3) uint8: the picture without the rows and columns of blocks that have nothing drawn; what
            is not drawn in it means nothing.
    """

    mask: Mask
    sheet: Pixels

    def paint(self, pixels: Pixels, crop: Box) -> None:
        """Lay the drawn blocks over the pixels of `crop`, in place."""
        bottom, right = crop.top + crop.height, crop.left + crop.width
        across = np.cumsum(np.repeat(self.mask.any(0), SIDE))[crop.left : right] - 1
        above = SIDE * (np.cumsum(self.mask.any(1)) - 1)  # rows of the sheet above each row of blocks that is in it
        rows = range(crop.top // SIDE, -(-bottom // SIDE))
        for row in (row for row in rows if self.mask[row].any()):
            top, end = max(crop.top, SIDE * row), min(bottom, SIDE * (row + 1))
            at = np.repeat(self.mask[row], SIDE)[crop.left : right]
            line = self.sheet[above[row] + top - SIDE * row :][: end - top]
            pixels[top - crop.top : end - crop.top, at] = line[:, across[at]]


def blank(header: Header, crop: Box) -> Pixels:
    """The pixels of `crop` before anything is painted: grey."""
    return np.full((crop.height, crop.width, 1 if header.colour is Colour.GREY else 3), 128, np.uint8)


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks of a picture; the last ones hold what is left."""
    return -(-height // SIDE), -(-width // SIDE)


def cover(mask: Mask, shape: tuple[int, int]) -> Mask:
    """A mask of blocks as one of pixels (h, w)."""
    return mask.repeat(SIDE, 0)[: shape[0]].repeat(SIDE, 1)[:, : shape[1]]


def sheet_of(pixels: Pixels, mask: Mask) -> Pixels:
    """The sheet of a picture: what is not drawn in it is of the colour that is drawn most on its top line."""
    height, width, _ = pixels.shape
    rows, columns = np.repeat(mask.any(1), SIDE)[:height], np.repeat(mask.any(0), SIDE)[:width]
    sheet, covered = pixels[rows][:, columns], cover(mask, (height, width))[rows][:, columns]
    if not covered.all():
        line, counts = np.unique(sheet[0][covered[0]], axis=0, return_counts=True)
        sheet[~covered] = line[counts.argmax()]
    return sheet


def pack_drawn(pixels: Pixels, mask: Mask, effort: int) -> bytes:
    """The payload of a DRAWN section: the blocks of `mask` of a picture (H, W, 1 or 3)."""
    sheet = sheet_of(pixels, mask)
    method, stream = pack(sheet, effort)
    bits = b"" if mask.all() else np.packbits(mask).tobytes()
    return write_drawn(DrawnPayload(method, checksum(bits, sheet), bits, stream))


def unpack_drawn(payload: bytes, header: Header) -> Drawn:
    """The drawn blocks of a file.

    Raises:
        CorruptFileError: a field is out of its range, or the stream holds other pixels than the mask says.
        InexactError: the stream decodes, but not to the encoder's pixels.
    """
    held = read_drawn(payload, header)
    rows, columns = grid(header.height, header.width)
    mask = np.ones((rows, columns), np.bool_)
    if held.mask:
        mask = np.unpackbits(np.frombuffer(held.mask, np.uint8), count=rows * columns).view(np.bool_)
        mask = mask.reshape(rows, columns)
    height = int(np.repeat(mask.any(1), SIDE)[: header.height].sum())
    width = int(np.repeat(mask.any(0), SIDE)[: header.width].sum())
    sheet = unpack(Method(held.method), held.stream, (height, width, 1 if header.colour is Colour.GREY else 3))
    if (found := checksum(held.mask, sheet)) != held.crc:
        raise InexactError(
            f"the drawn blocks have CRC {found:06x}, the file says {held.crc:06x}; the file is whole, so the WebP "
            "decoder of this machine (or of the encoder) is at fault"
        )
    return Drawn(mask, sheet)


def checksum(mask: bytes, sheet: Pixels) -> int:
    """The low 24 bits of the CRC-32 over the mask and the sheet."""
    return zlib.crc32(sheet.tobytes(), zlib.crc32(mask)) & 0xFFFFFF
