"""Pixels without loss, by the smaller of two methods: a packed palette, WebP lossless (FORMAT.md, "Drawn blocks")."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nicodec.container.drawn import RAW, WHAT, deflate
from nicodec.container.layout import Cursor, write_varint
from nicodec.container.payloads import inflate
from nicodec.errors import CorruptFileError
from nicodec.image.picture import Pixels

PART = 4096  # pixels: the sides of what WebP codes at once, which bounds its memory
COLOURS = 256  # most of a palette
WEBP_EFFORTS = ((3, 75), (4, 75), (4, 90), (4, 90), (4, 90), (4, 100), (4, 100), (4, 100), (6, 100))
"""Pillow's method and quality at efforts 1..9."""
VP8L = b"\x2f"
Colours = NDArray[np.uint32]


class Method(IntEnum):
    """How pixels are packed."""

    PALETTE = 0
    WEBP = 1


def colours(pixels: Pixels) -> Colours:
    """One number for each colour: (h, w, 1 or 3) to (h, w)."""
    number = pixels[:, :, 0].astype(np.uint32)
    for channel in range(1, pixels.shape[2]):
        number = number << np.uint32(8) | pixels[:, :, channel].astype(np.uint32)
    return number


def pack(pixels: Pixels, effort: int) -> tuple[Method, bytes]:
    """The smallest stream of some pixels (h, w, 1 or 3), and how it is packed. `effort`: 1..9."""
    packed = [(Method.WEBP, _pack_webp(pixels, effort))]
    numbers = colours(pixels)
    starts = np.diff(numbers, axis=1, prepend=numbers[:, :1] ^ np.uint32(1)) != 0  # of runs: all colours, mostly few
    table = np.unique(numbers[starts])
    if len(table) <= COLOURS:
        packed.append((Method.PALETTE, _pack_palette(table, np.searchsorted(table, numbers), pixels.shape[2])))
    return min(packed, key=lambda held: len(held[1]))


def unpack(method: Method, data: bytes, shape: tuple[int, int, int]) -> Pixels:
    """Pixels (h, w, 1 or 3) of exactly this shape.

    Raises:
        CorruptFileError: the stream holds others, or none.
    """
    return _unpack_palette(data, shape) if method is Method.PALETTE else _unpack_webp(data, shape)


def _index_bits(count: int) -> int:
    """Bits of an index into `count` colours: 0, 1, 2, 4 or 8."""
    return 0 if count == 1 else next(bits for bits in (1, 2, 4, 8) if count <= 1 << bits)


def _pack_palette(table: Colours, indices: NDArray[np.intp], channels: int) -> bytes:
    shifts = 8 * np.arange(channels - 1, -1, -1, dtype=np.uint32)
    head, bits = (table[:, None] >> shifts).astype(np.uint8).tobytes(), _index_bits(len(table))
    body = b""
    if bits:
        planes = indices.astype(np.uint8)[:, :, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
        body = np.packbits(planes.reshape(len(indices), -1), axis=1).tobytes()
    return bytes([len(table) - 1]) + deflate(head + body)


def _unpack_palette(data: bytes, shape: tuple[int, int, int]) -> Pixels:
    height, width, channels = shape
    cursor = Cursor(data, WHAT)
    count = cursor.byte() + 1
    bits = _index_bits(count)
    stride = -(-width * bits // 8)
    plain = np.frombuffer(inflate(cursor.rest(), count * channels + height * stride, WHAT, RAW), np.uint8)
    table = plain[: count * channels].reshape(count, channels)
    rows = plain[count * channels :].reshape(height, stride)
    if not bits:
        return np.broadcast_to(table[0], shape).copy()
    indices = np.zeros((height, width), np.uint8)
    each = 8 // bits
    for place in range(each):
        piece = rows >> (8 - bits * (place + 1)) & ((1 << bits) - 1)
        indices[:, place::each] = piece[:, : len(range(place, width, each))]
    if indices.max() >= count:
        raise CorruptFileError(f"{WHAT} has an index {indices.max()} into a palette of {count} colours")
    return table[indices]


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """What WebP codes one by one, in raster order."""
    for top in range(0, shape[0], PART):
        for left in range(0, shape[1], PART):
            yield slice(top, min(top + PART, shape[0])), slice(left, min(left + PART, shape[1]))


def _head(height: int, width: int) -> bytes:
    """The first five bytes of a VP8L stream without alpha, which the size alone decides."""
    return VP8L + struct.pack("<I", width - 1 | height - 1 << 14)


def _pack_webp(pixels: Pixels, effort: int) -> bytes:
    method, quality = WEBP_EFFORTS[effort - 1]
    options: dict[str, Any] = {"lossless": True, "method": method, "quality": quality}
    streams = []
    for rows, columns in _parts(pixels.shape):
        part = pixels[rows, columns]
        buffer = io.BytesIO()
        Image.fromarray(np.broadcast_to(part, (*part.shape[:2], 3)).copy()).save(buffer, "WEBP", **options)
        file = buffer.getvalue()  # RIFF, length, WEBP, VP8L, length, stream
        (length,) = struct.unpack_from("<I", file, 16)
        head = _head(*part.shape[:2])
        assert file[12:16] == b"VP8L"
        assert file[20:25] == head
        streams.append(file[25 : 20 + length])
    table = b"".join(write_varint(len(stream)) for stream in streams) if len(streams) > 1 else b""
    return table + b"".join(streams)


def _unpack_webp(data: bytes, shape: tuple[int, int, int]) -> Pixels:
    parts, cursor = list(_parts(shape)), Cursor(data, WHAT)
    lengths = [cursor.varint() for _ in parts] if len(parts) > 1 else [len(data)]
    pixels = np.empty(shape, np.uint8)
    for (rows, columns), length in zip(parts, lengths, strict=True):
        size = rows.stop - rows.start, columns.stop - columns.start
        pixels[rows, columns] = _read_webp(_head(*size) + cursor.take(length), size)[:, :, -shape[2] :]
    if cursor.rest():
        raise CorruptFileError(f"{WHAT} has bytes after its last stream")
    return pixels


def _read_webp(stream: bytes, size: tuple[int, int]) -> Pixels:
    """A VP8L stream to (h, w, 3). Its size is what we wrote into its head, so it cannot ask for more memory."""
    chunk = b"VP8L" + struct.pack("<I", len(stream)) + stream + bytes(len(stream) % 2)
    file = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    try:
        with Image.open(io.BytesIO(file), formats=["WEBP"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise CorruptFileError(f"{WHAT} holds a WebP stream that does not decode: {error}") from error
    if pixels.shape[:2] != size:
        raise CorruptFileError(f"{WHAT} holds {pixels.shape[1]}x{pixels.shape[0]} pixels, expected {size[1]}x{size[0]}")
    return pixels
