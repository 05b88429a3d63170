"""What a file may ask for, checked before anything is allocated on its word; for reasons see FORMAT.md, "Limits"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicodec.container.layout import STRIDE, TILE, Box, Header
from nicodec.errors import LimitError

if TYPE_CHECKING:
    from nicodec.container.reader import NicFile

MAX_SIDE = 1 << 20
MAX_PIXELS = 1 << 28
MAX_METADATA = 16 << 20
MAX_SECTIONS = 32
"""Largest width or height; most pixels; most bytes of one unpacked metadata block; most sections of a file."""

DEFAULT_MAX_PIXELS = 1 << 27
FREE_PIXELS = TILE * TILE
FREE_DRAWN = 1 << 24
PIXELS_A_BYTE = 1 << 13
"""What a reader takes unless told otherwise: most pixels; and no more than these (more where all is drawn: no network
runs) and so many more for each byte of the file. The emptiest real ones, flat grey in tokens of one bit, hold 1828
pixels a byte (SECURITY.md)."""


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no file may declare, in a reader as in a writer.

    Raises:
        LimitError: a side or the number of pixels is over its limit.
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(f"{width}x{height} pixels; the limits are {MAX_SIDE} a side and {MAX_PIXELS} in all")


def coded_pixels(width: int, height: int) -> int:
    """Pixels that a decoder works on: sides are filled up to whole squares of STRIDE."""
    rows, columns = Box(0, 0, width, height).grid
    return rows * columns * STRIDE**2


def is_usual(header: Header, size: int, *, drawn: bool) -> bool:
    """Whether real pictures of so many bytes have so many pixels. `drawn`: nothing but drawn blocks is in the file."""
    if drawn:
        return header.width * header.height <= FREE_DRAWN + PIXELS_A_BYTE * size
    return coded_pixels(header.width, header.height) <= FREE_PIXELS + PIXELS_A_BYTE * size


def check_declared(file: NicFile, max_pixels: int | None) -> None:
    """Refuse a file that asks for more work than its reader wants to do, before any of it.

    Args:
        max_pixels: most pixels that it may declare; None: DEFAULT_MAX_PIXELS, and in proportion to its size.

    Raises:
        LimitError: it declares more.
    """
    header, most = file.header, DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    advice = "if that is meant, allow it with a larger --max-pixels"
    if header.width * header.height > most:
        raise LimitError(f"the file declares {header.width}x{header.height} pixels, more than {most}; {advice}")
    if max_pixels is None and not is_usual(header, file.size, drawn=not file.streams):
        raise LimitError(
            f"the file declares {header.width}x{header.height} pixels, but has {file.size} bytes, fewer than any real "
            f"picture of so many; {advice}"
        )
