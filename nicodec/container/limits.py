"""What a file may ask for, checked before anything is allocated on its word; for reasons see FORMAT.md, "Limits"."""

from nicodec.errors import LimitError

MAX_SIDE = 1 << 20
MAX_PIXELS = 1 << 28
MAX_METADATA = 16 << 20
MAX_SECTIONS = 32
"""Largest width or height; most pixels; most bytes of one unpacked metadata block; most sections of a file."""


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no file may declare, in a reader as in a writer.

    Raises:
        LimitError: a side or the number of pixels is over its limit.
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(f"{width}x{height} pixels; the limits are {MAX_SIDE} a side and {MAX_PIXELS} in all")
