"""Header and sections to bytes."""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Sequence

from nicodec.container.layout import (
    BIT_DEPTHS,
    HINTED,
    LAST_SECTION,
    MAGIC,
    MAPPED,
    REFERRING,
    SKIPPABLE,
    SYMBOLS_CRC_BYTES,
    Foreign,
    Header,
    Prior,
    References,
    Section,
    TileBody,
    write_varint,
)


def write_file(header: Header, sections: Sequence[Section]) -> bytes:
    """A whole .nic file. Sections are put into the order of their types."""
    ordered = sorted(sections, key=lambda section: section.type)
    last = len(ordered) - 1
    return write_header(header) + b"".join(
        write_section(section, last=index == last) for index, section in enumerate(ordered)
    )


def write_header(header: Header) -> bytes:
    """The header with its CRC-16."""
    more = _hint(header) if header.version == 1 else _settings(header)
    flags = header.colour | BIT_DEPTHS.index(header.bit_depth) << 1 | bool(more) << 3
    fields = [
        MAGIC,
        bytes([header.version << 4 | flags]),
        write_varint(header.width),
        write_varint(header.height),
        struct.pack("<H", header.rate),
        header.base_id,
        more,
    ]
    body = b"".join(fields)
    return body + struct.pack("<H", binascii.crc_hqx(body, 0xFFFF))


def _hint(header: Header) -> bytes:
    return b"" if header.hint is None else bytes([header.hint.anchor << 7 | header.hint.tau_percent])


def _settings(header: Header) -> bytes:
    """Settings and hint of version 2; nothing where there is nothing to say."""
    hint = _hint(header)
    tune = 0 if header.tune is None else header.tune + 1
    settings = (
        tune | (MAPPED if header.mapped else 0) | (HINTED if hint else 0) | (REFERRING if header.referring else 0)
    )
    return bytes([settings]) + hint if settings else b""


def write_section(section: Section, *, last: bool) -> bytes:
    """A section: tag, length, payload, CRC-32 over these three."""
    tag = section.type | (LAST_SECTION if last else 0) | (SKIPPABLE if section.skippable else 0)
    body = bytes([tag]) + write_varint(len(section.payload)) + section.payload
    return body + struct.pack("<I", zlib.crc32(body))


def write_tiles(streams: Sequence[TileBody]) -> bytes:
    """The tiles of a stream: of each, the CRC of its symbols and its coded bytes. One tile needs no table."""
    bodies = [crc.to_bytes(SYMBOLS_CRC_BYTES, "little") + stream for crc, stream in streams]
    if len(bodies) == 1:
        return bodies[0]
    table = [write_varint(len(body)) + struct.pack("<I", zlib.crc32(body)) for body in bodies]
    return b"".join(table + bodies)


def write_tokens(vq_id: bytes, prior: Prior, depth: int, streams: Sequence[TileBody]) -> bytes:
    """The payload of a VQ section; arguments as in `TokenStreams`."""
    return vq_id + bytes([prior, depth]) + write_tiles(streams)


def write_texture(texture_id: bytes, depth: int, streams: Sequence[TileBody]) -> bytes:
    """The payload of a TEXTURE section; arguments as in `TokenStreams`."""
    return texture_id + bytes([depth]) + write_tiles(streams)


def write_references(references: References) -> bytes:
    """The payload of a REFERENCES section of version 1."""
    count, packed = len(references.ids), 0
    for id_ in references.ids:
        packed = packed << references.id_bits | id_
    size = -(-count * references.id_bits // 8)
    packed <<= 8 * size - count * references.id_bits
    return references.dictionary_id + bytes([references.id_bits, count]) + packed.to_bytes(size, "big")


def write_foreign(foreign: Foreign) -> bytes:
    """The payload of a FOREIGN section."""
    name = foreign.name.encode("ascii")
    head = bytes([len(name)]) + name + foreign.weights_id + b"".join(map(write_varint, foreign.shape))
    strings = (write_varint(len(string)) + string for string in foreign.strings)
    crc = b"" if foreign.crc is None else foreign.crc.to_bytes(SYMBOLS_CRC_BYTES, "little")
    return head + bytes([len(foreign.strings)]) + b"".join(strings) + crc


def write_packed(data: bytes) -> bytes:
    """Metadata: stored, or deflated where that is smaller."""
    deflated = zlib.compress(data, 9)
    method, body = (1, deflated) if len(deflated) < len(data) else (0, data)
    return bytes([method]) + write_varint(len(data)) + body
