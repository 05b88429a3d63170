"""Bytes to header and sections. Nothing is allocated on a file's word before it is checked."""

from __future__ import annotations

import binascii
import re
import zlib
from dataclasses import dataclass

from nicodec.container.layout import (
    BIT_DEPTHS,
    HINTED,
    ID_BYTES,
    JPEG,
    LAST_SECTION,
    MAGIC,
    MAPPED,
    MAX_ID_BITS,
    MAX_REFERENCES,
    MAX_TOKEN_BITS,
    NO_BASE,
    REFERRING,
    SKIPPABLE,
    TUNE_MASK,
    TYPE_MASK,
    VERSIONS,
    Anchor,
    Colour,
    Cursor,
    Foreign,
    Header,
    Hint,
    Prior,
    References,
    Section,
    SectionType,
    TileBody,
    TokenStreams,
    Tune,
    foreign_shape,
    tiles,
)
from nicodec.container.limits import MAX_METADATA, MAX_SECTIONS, check_size
from nicodec.errors import CorruptFileError, LimitError, NicodecError, NotNicodecError, UnsupportedVersionError

STREAMS = frozenset({SectionType.SQ, SectionType.FOREIGN, SectionType.VQ})
NAMED_JPEG = bytes([len(JPEG)]) + JPEG.encode()  # what the FOREIGN section of a JPEG starts with
TOKENS = (SectionType.VQ, SectionType.TEXTURE)


@dataclass(frozen=True)
class NicFile:
    """A parsed file: its header, its known sections by type, and its size in bytes."""

    header: Header
    sections: dict[SectionType, Section]
    size: int

    @property
    def streams(self) -> bool:
        """Whether it has a picture beside its drawn blocks, if it has those."""
        return bool(self.sections.keys() & STREAMS)

    @property
    def without_tokens(self) -> NicFile:
        """The file as far as the SQ stream goes."""
        kept = {kind: section for kind, section in self.sections.items() if kind not in TOKENS}
        return NicFile(self.header, kept, self.size - sum(len(self.payload(kind) or b"") for kind in TOKENS))

    def payload(self, wanted: SectionType) -> bytes | None:
        """Payload of a section, or None."""
        section = self.sections.get(wanted)
        return None if section is None else section.payload

    @property
    def holds_jpeg(self) -> bool:
        """Whether its picture is a JPEG's."""
        return (self.payload(SectionType.FOREIGN) or b"").startswith(NAMED_JPEG)


def read_file(data: bytes, damage: list[str] | None = None) -> NicFile:
    """Parse a whole file and check every CRC in it.

    Args:
        damage: where to note what is damaged beyond the header, instead of raising; what follows may be missing.

    Raises:
        NotNicodecError: the magic is another.
        UnsupportedVersionError: another version, or an unknown critical section.
        CorruptFileError: truncated, damaged, or against the rules of FORMAT.md.
        LimitError: it declares more than `limits` allow.
    """
    cursor = Cursor(data, "the file")
    header = _read_header(cursor)
    sections: dict[SectionType, Section] = {}
    file = NicFile(header, sections, len(data))
    try:
        _read_sections(cursor, header, sections, damage)
        _check_whole(cursor, file)
    except (CorruptFileError, LimitError, UnsupportedVersionError) as error:
        note_damage(error, damage)
    return file


def note_damage(error: NicodecError, damage: list[str] | None) -> None:
    """Raise the error; or, where there is a list of damage, put its message there."""
    if damage is None:
        raise error
    damage.append(str(error))


def _check_whole(cursor: Cursor, file: NicFile) -> None:
    header, sections = file.header, file.sections
    if cursor.position != len(cursor.data):
        raise CorruptFileError(f"{len(cursor.data) - cursor.position} bytes follow the last section")
    if not sections.keys() & (STREAMS | {SectionType.DRAWN}):
        raise CorruptFileError("the file holds no picture: no SQ, VQ, DRAWN or foreign section")
    if SectionType.REFERENCES in sections and SectionType.SQ not in sections:
        raise CorruptFileError("the file has references, but no SQ section that would depend on them")
    if SectionType.TEXTURE in sections and SectionType.SQ not in sections:
        raise CorruptFileError("the file has tokens of texture, but no SQ section whose texture they are")
    if header.version > 1 and header.referring != (SectionType.REFERENCES in sections):
        raise CorruptFileError("the settings and the sections do not agree on whether the file has references")
    own, foreign = bool(sections.keys() & {SectionType.SQ, SectionType.VQ}), SectionType.FOREIGN in sections
    if own == (header.base_id == NO_BASE) or (own and foreign):
        raise CorruptFileError("the base id and the sections do not agree on whose base this is")
    if foreign and SectionType.DRAWN in sections:
        raise CorruptFileError("the file has drawn blocks beside another codec's strings")
    if file.holds_jpeg and len(sections) > 1:
        raise CorruptFileError("the file has other sections beside a JPEG, which holds all that belongs to it")


def _read_sections(
    cursor: Cursor, header: Header, sections: dict[SectionType, Section], damage: list[str] | None
) -> None:
    """All sections up to the last; the known ones go to `sections`."""
    previous = 0
    for _ in range(MAX_SECTIONS):
        tag, section = _read_section(cursor, damage)
        if section.type <= previous:
            raise CorruptFileError(f"section type {section.type} after type {previous}: expected ascending types")
        previous = section.type
        known = section.type in SectionType.__members__.values()
        if header.version > 1 and section.type == SectionType.VQ:
            raise CorruptFileError("the file has a VQ section, which only version 1 has")
        if header.version == 1 and section.type in (SectionType.DRAWN, SectionType.TEXTURE):
            known = False
        if known and bool(tag & SKIPPABLE) != section.skippable:
            raise CorruptFileError(f"section type {section.type} has the wrong skippable bit")
        if known:
            sections[SectionType(section.type)] = section
        elif not tag & SKIPPABLE:
            raise UnsupportedVersionError(
                f"the file needs section type {section.type}, unknown to this version; use a newer nicodec"
            )
        if tag & LAST_SECTION:
            return
    raise LimitError(f"the file has more than {MAX_SECTIONS} sections")


def _read_header(cursor: Cursor) -> Header:
    if cursor.data[: len(MAGIC)] != MAGIC:
        start = cursor.data[: len(MAGIC)].hex(" ") or "nothing"
        raise NotNicodecError(f"not a .nic file: it starts with {start}, expected {MAGIC.hex(' ')}")
    cursor.take(len(MAGIC))
    version, flags = divmod(cursor.byte(), 16)
    if version not in VERSIONS:
        known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise UnsupportedVersionError(f"the file has format version {version}, this nicodec reads versions {known}")
    width, height = cursor.varint(), cursor.varint()
    rate, base_id = cursor.u16(), cursor.take(ID_BYTES)
    settings = None if not flags & 8 else HINTED if version == 1 else cursor.byte()
    hint_byte = cursor.byte() if settings is not None and settings & HINTED else None
    body = cursor.data[: cursor.position]
    if cursor.u16() != binascii.crc_hqx(body, 0xFFFF):
        raise CorruptFileError("the header is damaged: its CRC does not hold")
    if not width or not height:
        raise CorruptFileError(f"the file declares a picture of {width}x{height} pixels")
    check_size(width, height)
    colour, bit_depth, said = Colour(flags & 1), BIT_DEPTHS[flags >> 1 & 3], _settings(settings)
    return Header(width, height, colour, bit_depth, rate, base_id, _hint(hint_byte), version, *said)


def _settings(byte: int | None) -> tuple[Tune | None, bool, bool]:
    """Tune, whether there is a quality map, and whether there are references."""
    if byte is None:
        return None, False, False
    tune = byte & TUNE_MASK
    if byte == 0 or byte & ~(TUNE_MASK | MAPPED | HINTED | REFERRING) or tune > len(Tune):
        raise CorruptFileError(f"the file has settings {byte:#04x}, expected tune 0..2 and bits 5-7 of 0, and not 0")
    return Tune(tune - 1) if tune else None, bool(byte & MAPPED), bool(byte & REFERRING)


def _hint(byte: int | None) -> Hint | None:
    if byte is None:
        return None
    if byte & 0x7F > 100:
        raise CorruptFileError(f"the file recommends a tau of {byte & 0x7F} %, expected 0..100")
    return Hint(Anchor(byte >> 7), byte & 0x7F)


def _read_section(cursor: Cursor, damage: list[str] | None) -> tuple[int, Section]:
    start = cursor.position
    tag = cursor.byte()
    payload = cursor.take(cursor.varint(), short=damage is not None)
    body = cursor.data[start : cursor.position]
    if cursor.take(4, short=damage is not None) != zlib.crc32(body).to_bytes(4, "little"):
        note_damage(CorruptFileError(f"section type {tag & TYPE_MASK} is damaged: its CRC does not hold"), damage)
    return tag, Section(tag & TYPE_MASK, payload)


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
