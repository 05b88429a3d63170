"""Bytes to header and sections. Nothing is allocated on a file's word before it is checked."""

from __future__ import annotations

import binascii
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
    NO_BASE,
    REFERRING,
    SKIPPABLE,
    TUNE_MASK,
    TYPE_MASK,
    VERSIONS,
    Anchor,
    Colour,
    Cursor,
    Header,
    Hint,
    Section,
    SectionType,
    Tune,
)
from nicodec.container.limits import MAX_SECTIONS, check_size
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
        kind = tag & TYPE_MASK
        named = f"the {SectionType(kind).name} section" if kind in SectionType.__members__.values() else "a section"
        note_damage(CorruptFileError(f"{named} (type {kind}) is damaged: its CRC does not hold"), damage)
    return tag, Section(tag & TYPE_MASK, payload)
