"""Chunks of PNG files: their CRCs, which Pillow checks only in part, and cICP, which it does not know."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from nicodec.errors import InputError

MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD = struct.Struct(">I4s")


@dataclass(frozen=True)
class Chunk:
    """A whole chunk.

    Attributes:
        name: four letters.
        start, end: its place in the file, length and CRC included.
        crc, expected: the CRC that it has, and the one that its content has.
    """

    name: bytes
    start: int
    end: int
    crc: int
    expected: int

    @property
    def ancillary(self) -> bool:
        """Whether a picture can be read without it."""
        return self.name[:1].islower()


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file up to IEND, or to where the file is cut or is none."""
    view, start = memoryview(data), len(MAGIC) if data.startswith(MAGIC) else len(data)
    while start + HEAD.size <= len(data):
        length, name = HEAD.unpack_from(data, start)
        end = start + HEAD.size + length + 4
        if end > len(data) or not name.isalpha():
            return
        (crc,) = struct.unpack_from(">I", data, end - 4)
        yield Chunk(name, start, end, crc, zlib.crc32(view[start + 4 : end - 4]))
        if name == b"IEND":
            return
        start = end


def check_crcs(data: bytes) -> None:
    """Nothing, if all chunks are whole, or `data` is no PNG file.

    Raises:
        InputError: names the first chunk whose CRC is wrong.
    """
    for chunk in chunks(data):
        if chunk.crc != chunk.expected:
            name = chunk.name.decode()
            advice = f"; encode --allow-damaged reads the picture without {name}" if chunk.ancillary else ""
            if chunk.name == b"IDAT":
                advice = "; encode --allow-damaged takes what can be read"
            raise InputError(
                f"the PNG file is damaged: its chunk {name} at byte {chunk.start} has the CRC {chunk.crc:08x}, "
                f"its content {chunk.expected:08x}{advice}"
            )


def without_damaged(data: bytes) -> tuple[bytes, list[str]]:
    """A PNG file without the ancillary chunks whose CRCs are wrong, and the names of these; other data as it is."""
    damaged = [chunk for chunk in chunks(data) if chunk.crc != chunk.expected and chunk.ancillary]
    for chunk in reversed(damaged):
        data = data[: chunk.start] + data[chunk.end :]
    return data, [chunk.name.decode() for chunk in damaged]


def cicp(data: bytes) -> bytes | None:
    """The four bytes of the chunk cICP: primaries, transfer, matrix, full range. None: there is none of that length."""
    for chunk in chunks(data):
        if chunk.name == b"IDAT":
            return None
        if chunk.name == b"cICP" and chunk.end - chunk.start == HEAD.size + 4 + 4:
            return data[chunk.start + HEAD.size : chunk.end - 4]
    return None
