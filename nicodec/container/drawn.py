"""The payload of a DRAWN section: which blocks are drawn, and a stream of their pixels (FORMAT.md, "Drawn blocks")."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from nicodec.container.layout import SYMBOLS_CRC_BYTES, Cursor, Header, write_varint
from nicodec.container.payloads import inflate
from nicodec.errors import CorruptFileError

SIDE = 32  # of a block in pixels; the last row and column of blocks hold what is left of the picture
METHODS = 2
MASKED = 0x10
RAW = -15  # zlib's name for deflate with nothing around it: a section has a length and a CRC already
WHAT = "the DRAWN section"


@dataclass(frozen=True)
class DrawnPayload:
    """A DRAWN section.

    Attributes:
        method: of the stream, 0..METHODS - 1.
        crc: of the mask and the pixels.
        mask: a bit a block in raster order, highest bit first, filled up with zeros; empty: all are drawn.
        stream: the pixels.
    """

    method: int
    crc: int
    mask: bytes = field(repr=False)
    stream: bytes = field(repr=False)


def blocks(header: Header) -> int:
    """How many blocks a picture has."""
    return -(-header.height // SIDE) * -(-header.width // SIDE)


def deflate(data: bytes) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, RAW, 9)
    return packer.compress(data) + packer.flush()


def write_drawn(drawn: DrawnPayload) -> bytes:
    """The payload of a DRAWN section."""
    mask = deflate(drawn.mask) if drawn.mask else b""
    head = bytes([drawn.method | (MASKED if mask else 0)]) + drawn.crc.to_bytes(SYMBOLS_CRC_BYTES, "little")
    return head + (write_varint(len(mask)) + mask if mask else b"") + drawn.stream


def read_drawn(payload: bytes, header: Header) -> DrawnPayload:
    """Parse the payload of a DRAWN section.

    Raises:
        CorruptFileError: a field is out of its range, or the mask says nothing.
    """
    cursor = Cursor(payload, WHAT)
    form, crc, mask = cursor.byte(), cursor.symbols_crc(), b""
    if form & ~MASKED >= METHODS:
        raise CorruptFileError(f"{WHAT} has form {form:#04x}, expected a method 0..{METHODS - 1} and bit 4")
    if form & MASKED:
        count = blocks(header)
        mask = inflate(cursor.take(cursor.varint()), -(-count // 8), WHAT, RAW)
        bits = int.from_bytes(mask, "big")
        if bits & (1 << 8 * len(mask) - count) - 1 or bits.bit_count() in (0, count):
            raise CorruptFileError(f"{WHAT} has a mask of no block, of all, or of blocks outside the picture")
    return DrawnPayload(form & ~MASKED, crc, mask, cursor.rest())


def count_drawn(payload: bytes, header: Header) -> int:
    """How many blocks are drawn. Raises: as `read_drawn`."""
    held = read_drawn(payload, header)
    return int.from_bytes(held.mask, "big").bit_count() if held.mask else blocks(header)
