"""Payloads of sections to what they hold. Nothing is allocated on a file's word before it is checked."""

from __future__ import annotations

import re
import zlib

from nicodec.container.layout import (
    ID_BYTES,
    MAX_ID_BITS,
    MAX_REFERENCES,
    MAX_TOKEN_BITS,
    NO_BASE,
    Cursor,
    Foreign,
    Header,
    Prior,
    References,
    SectionType,
    TileBody,
    TokenStreams,
    foreign_shape,
    tiles,
)
from nicodec.container.limits import MAX_METADATA
from nicodec.container.reader import NicFile, note_damage
from nicodec.errors import CorruptFileError, LimitError


def read_tiles(payload: bytes, header: Header, what: str, damage: list[str] | None = None) -> list[TileBody | None]:
    """Split a stream's payload into tiles: of each, the CRC of its symbols and its coded bytes.

    Args:
        damage: where to note what is damaged, instead of raising; such a tile is None.

    Raises:
        CorruptFileError: the table does not fit the payload, or a tile's CRC does not hold.
    """
    count = len(tiles(header.width, header.height))
    cursor = Cursor(payload, what)
    if count == 1:
        return [(cursor.symbols_crc(), cursor.rest())]
    table = [(cursor.varint(), cursor.u32()) for _ in range(count)]
    bodies: list[TileBody | None] = []
    for index, (length, crc) in enumerate(table):
        body = cursor.take(length, short=damage is not None)
        if zlib.crc32(body) == crc:
            inner = Cursor(body, f"tile {index} of {what}")
            bodies.append((inner.symbols_crc(), inner.rest()))
            continue
        note_damage(CorruptFileError(f"tile {index} of {what} is damaged: its CRC does not hold"), damage)
        bodies.append(None)
    if cursor.rest():
        raise CorruptFileError(f"{what} has bytes after its last tile")
    return bodies


def read_tokens(file: NicFile, damage: list[str] | None = None) -> TokenStreams | None:
    """Parse the VQ section of a file, or its TEXTURE section, if there is one. `damage` is as in `read_tiles`.

    Raises:
        CorruptFileError: a field is out of its range, or the tiles do not fit.
    """
    kind = SectionType.TEXTURE if SectionType.TEXTURE in file.sections else SectionType.VQ
    payload, what = file.payload(kind), f"the {kind.name} section"
    if payload is None:
        return None
    cursor = Cursor(payload, what)
    part_id, prior = cursor.take(ID_BYTES), int(Prior.SQ) if kind is SectionType.TEXTURE else cursor.byte()
    depth = cursor.byte()
    if prior not in Prior.__members__.values() or not 1 <= depth <= MAX_TOKEN_BITS:
        raise CorruptFileError(
            f"{what} has prior {prior} and {depth} bits a token, expected 0..1 and 1..{MAX_TOKEN_BITS}"
        )
    bodies = read_tiles(cursor.rest(), file.header, what, damage)
    return TokenStreams(kind.name.lower(), part_id, Prior(prior), depth, bodies)


def read_references(file: NicFile) -> References | None:
    """Parse the REFERENCES section of a file of version 1, if there is one.

    Raises:
        CorruptFileError: a field is out of its range, the IDs do not rise, or other bytes are there than they take.
    """
    payload = file.payload(SectionType.REFERENCES)
    if payload is None or file.header.version > 1:
        return None
    cursor = Cursor(payload, "the REFERENCES section")
    dictionary_id, bits, count = cursor.take(ID_BYTES), cursor.byte(), cursor.byte()
    if not 1 <= bits <= MAX_ID_BITS or not 1 <= count <= MAX_REFERENCES:
        raise CorruptFileError(
            f"the REFERENCES section has {count} IDs of {bits} bits, expected 1..{MAX_REFERENCES} of 1..{MAX_ID_BITS}"
        )
    data = cursor.rest()
    spare = 8 * len(data) - count * bits
    packed = int.from_bytes(data, "big")
    if not 0 <= spare < 8 or packed & ((1 << spare) - 1):
        raise CorruptFileError(f"the REFERENCES section has {len(data)} bytes of IDs, expected {count} of {bits} bits")
    ids = tuple(packed >> spare + bits * (count - 1 - index) & ((1 << bits) - 1) for index in range(count))
    if list(ids) != sorted(set(ids)):
        raise CorruptFileError(f"the reference IDs {ids} do not rise")
    return References(dictionary_id, bits, ids)


def read_foreign(file: NicFile, damage: list[str] | None = None) -> Foreign | None:
    """Parse the FOREIGN section of a file, if there is one.

    `damage`: as in `read_tiles`; the last string may then be cut off.

    Raises:
        CorruptFileError: a field is out of its range, or does not fit the picture's size.
    """
    payload = file.payload(SectionType.FOREIGN)
    if payload is None:
        return None
    cursor = Cursor(payload, "the FOREIGN section")
    name = cursor.take(cursor.byte())
    if re.fullmatch(rb"[a-z0-9:.-]+", name) is None:
        raise CorruptFileError(f"the FOREIGN section names a codec {name!r}")
    weights_id, shape = cursor.take(ID_BYTES), (cursor.varint(), cursor.varint())
    expected = foreign_shape(name.decode(), file.header.width, file.header.height)
    if shape != expected:
        raise CorruptFileError(f"the FOREIGN section has a latent of {shape}, the picture's is {expected}")
    strings = [cursor.take(cursor.varint(), short=damage is not None) for _ in range(cursor.byte())]
    crc = cursor.symbols_crc() if file.header.version > 1 and not file.holds_jpeg else None
    if cursor.rest():
        raise CorruptFileError("the FOREIGN section has bytes after its last field")
    if file.holds_jpeg and (file.header.version == 1 or weights_id != NO_BASE or len(strings) != 1):
        raise CorruptFileError("the FOREIGN section holds a JPEG, expected in version 2, one, and without weights")
    return Foreign(name.decode(), weights_id, shape, strings, crc)


def read_jpeg_section(file: NicFile, damage: list[str] | None = None) -> bytes | None:
    """The JPEG file that a file keeps in its FOREIGN section, if it does. `damage`, errors: as `read_foreign`."""
    foreign = read_foreign(file, damage) if file.holds_jpeg else None
    return None if foreign is None else foreign.strings[0]


def read_packed(payload: bytes, what: str) -> bytes:
    """Unpack metadata.

    Raises:
        CorruptFileError: it does not unpack to the length that it declares.
        LimitError: it declares more than MAX_METADATA bytes.
    """
    cursor = Cursor(payload, what)
    method, length = cursor.byte(), cursor.varint()
    if length > MAX_METADATA:
        raise LimitError(f"{what} declares {length} bytes, the limit is {MAX_METADATA}")
    if method == 0:
        data = cursor.rest()
    elif method == 1:
        data = inflate(cursor.rest(), length, what)
    else:
        raise CorruptFileError(f"{what} is packed by method {method}, expected 0 or 1")
    if len(data) != length:
        raise CorruptFileError(f"{what} holds {len(data)} bytes, expected {length}")
    return data


def inflate(data: bytes, length: int, what: str, window: int = zlib.MAX_WBITS) -> bytes:
    """Unpack a zlib stream that must hold exactly `length` bytes; never allocates more.

    `window` is zlib's `wbits`: negative for a stream without header and checksum.

    Raises:
        CorruptFileError: it holds fewer, or more, or does not end.
    """
    unpacker = zlib.decompressobj(window)
    try:
        plain = unpacker.decompress(data, length + 1)
    except zlib.error as error:
        raise CorruptFileError(f"{what} does not unpack: {error}") from error
    if len(plain) != length or not unpacker.eof or unpacker.unused_data:
        raise CorruptFileError(f"{what} does not unpack to the {length} bytes that it should")
    return plain
