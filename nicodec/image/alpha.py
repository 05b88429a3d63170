"""Alpha, without loss: constant, or deflated differences (FORMAT.md, "Alpha")."""

from __future__ import annotations

import zlib

import numpy as np

from nicodec.container.payloads import inflate
from nicodec.errors import CorruptFileError
from nicodec.image.picture import Pixels

CONSTANT, PLAIN, LEFT, UP = range(4)


def pack_alpha(alpha: Pixels) -> bytes:
    """Pack an alpha plane (H, W) by whichever method is smallest: one method byte, then the data."""
    if (alpha == alpha[0, 0]).all():
        return bytes([CONSTANT, alpha[0, 0]])
    planes = {
        PLAIN: alpha,
        LEFT: np.diff(alpha, axis=1, prepend=np.uint8(0)),
        UP: np.diff(alpha, axis=0, prepend=np.uint8(0)),
    }
    packed = [bytes([method]) + zlib.compress(plane.tobytes(), 9) for method, plane in planes.items()]
    return min(packed, key=len)


def unpack_alpha(payload: bytes, height: int, width: int) -> Pixels:
    """Unpack an alpha plane (H, W).

    Raises:
        CorruptFileError: unknown method, or data of another size.
    """
    method, data = payload[:1], payload[1:]
    if method == bytes([CONSTANT]) and len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    if method not in (bytes([PLAIN]), bytes([LEFT]), bytes([UP])):
        raise CorruptFileError("the alpha section is of no known method")
    plane = np.frombuffer(inflate(data, height * width, "the alpha section"), np.uint8).reshape(height, width)
    if method == bytes([PLAIN]):
        return plane.copy()
    return np.cumsum(plane, axis=1 if method == bytes([LEFT]) else 0, dtype=np.uint8)
