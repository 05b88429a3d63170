import binascii
import contextlib
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nicodec.container import layout, limits
from nicodec.container.layout import Anchor, Colour, Header, Hint, Section, SectionType, Tune, tiles, write_varint
from nicodec.container.payloads import read_packed, read_tiles
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_header, write_packed, write_section, write_tiles
from nicodec.errors import CorruptFileError, LimitError, NicodecError, NotNicodecError, UnsupportedVersionError

BASE = bytes(range(1, 9))
HEADER = Header(768, 512, Colour.RGB, 8, 40000, BASE)
SQ = Section(SectionType.SQ, b"abc" + bytes(range(200)))
PLAIN = write_file(HEADER, [SQ, Section(SectionType.ALPHA, b"\0\x80"), Section(SectionType.XMP, b"\0\x02hi")])
FIRST_ALONE = {SectionType.REFERENCES, SectionType.VQ}  # of version 1
FORMAT = (Path(layout.__file__).parent / "FORMAT.md").read_text()

versions = st.just((1, None, False)) | st.tuples(st.just(2), st.none() | st.sampled_from(Tune), st.booleans())
hints = st.none() | st.builds(Hint, st.sampled_from(Anchor), st.integers(0, 100))
headers = st.builds(
    lambda *fields: Header(*fields[:-1], *fields[-1]),
    st.integers(1, 1 << 14), st.integers(1, 1 << 14), st.sampled_from(Colour), st.sampled_from((8, 10, 12, 16)),
    st.integers(0, 65535), st.binary(min_size=8, max_size=8).filter(any), hints, versions,
)  # fmt: skip


@given(headers, st.dictionaries(st.sampled_from([t for t in SectionType if t != SectionType.FOREIGN]), st.binary()))
def test_what_is_written_is_read(header, payloads):
    payloads.setdefault(SectionType.SQ, b"")
    other = FIRST_ALONE if header.version > 1 else {SectionType.DRAWN, SectionType.TEXTURE}
    payloads = {kind: payload for kind, payload in payloads.items() if kind not in other}
    sections = [Section(kind, payload) for kind, payload in payloads.items()]
    file = read_file(write_file(header, sections))
    assert file.header == header
    assert {kind: section.payload for kind, section in file.sections.items()} == payloads


def test_a_header_of_version_2_says_only_what_is_not_usual():
    plain = write_header(replace(HEADER, version=2))
    assert len(plain) == len(write_header(HEADER))
    assert plain[4] == write_header(HEADER)[4] + 16
    for fields, said in (
        ({"tune": Tune.EYE}, b"\1"), ({"tune": Tune.PSNR}, b"\2"),
        ({"mapped": True}, b"\4"), ({"hint": Hint(Anchor.PERCEPTION, 70)}, b"\x08\xc6"),
        ({"tune": Tune.PSNR, "mapped": True, "hint": Hint(Anchor.FIDELITY, 0)}, b"\x0e\0"),
    ):  # fmt: skip
        assert write_header(replace(HEADER, version=2, **fields))[-2 - len(said) : -2] == said


def test_version_1_has_no_way_to_say_a_tune_or_a_map():
    for fields in ({"tune": Tune.EYE}, {"tune": Tune.PSNR}, {"mapped": True}):
        with pytest.raises(ValueError, match="version 1"):
            replace(HEADER, **fields)


@pytest.mark.parametrize("settings", [byte for byte in range(256) if byte == 0 or byte & 3 == 3 or byte > 15])
def test_settings_that_no_encoder_writes(settings):
    hint = b"\0" if settings & 8 else b""
    body = write_header(replace(HEADER, version=2, mapped=True))[:-3] + bytes([settings]) + hint
    head = body + struct.pack("<H", binascii.crc_hqx(body, 0xFFFF))
    with pytest.raises(CorruptFileError, match="settings"):
        read_file(head + write_section(SQ, last=True))


def test_sections_that_version_2_does_not_have():
    header = replace(HEADER, version=2)
    with pytest.raises(CorruptFileError, match="VQ section"):
        read_file(write_file(header, [SQ, Section(SectionType.VQ, b"")]))
    with pytest.raises(CorruptFileError, match="do not agree on whether the file has references"):
        read_file(write_file(header, [SQ, Section(SectionType.REFERENCES, b"")]))
    with pytest.raises(UnsupportedVersionError, match="section type 9"):  # version 1 has no drawn blocks
        read_file(write_file(HEADER, [SQ, Section(SectionType.DRAWN, b"")]))
    texture = Section(SectionType.TEXTURE, b"")
    assert read_file(write_file(HEADER, [SQ, texture])).sections.keys() == {SectionType.SQ}  # nor texture: skipped
    with pytest.raises(CorruptFileError, match="no SQ section whose texture"):
        read_file(write_file(header, [Section(SectionType.DRAWN, b""), texture]))


def test_overhead_of_a_plain_picture_is_at_most_32_bytes():
    assert len(write_file(HEADER, [Section(SectionType.SQ, write_tiles([(1, bytes(40000))]))])) - 40000 <= 32
    assert len(write_file(HEADER, [Section(SectionType.SQ, write_tiles([(1, bytes(4000))]))])) - 4000 <= 31


def test_every_truncation_is_refused():
    for length in range(len(PLAIN)):
        with pytest.raises((CorruptFileError, NotNicodecError)):
            read_file(PLAIN[:length])


def test_every_flipped_bit_is_refused():
    for position in range(8 * len(PLAIN)):
        damaged = bytearray(PLAIN)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(NicodecError):
            read_file(bytes(damaged))


@settings(max_examples=300)
@given(st.binary(max_size=64), st.integers(0, len(PLAIN)), st.integers(0, 40))
def test_random_bytes_inside_a_file_are_refused_or_read(noise, start, cut):
    with contextlib.suppress(NicodecError):
        read_file(PLAIN[:start] + noise + PLAIN[start + cut :])


def sized(width, height):
    """A file whose header lies about the size, its CRCs intact."""
    return write_file(Header(width, height, Colour.RGB, 8, 0, BASE), [SQ])


@pytest.mark.parametrize(("width", "height", "error"), [
    (0, 5, CorruptFileError), (5, 0, CorruptFileError), (1 << 31, 1, LimitError), (1, 1 << 31, LimitError),
    ((1 << 20) + 1, 1, LimitError), (1 << 15, 1 << 14, LimitError),
])  # fmt: skip
def test_sizes_that_lie(width, height, error):
    with pytest.raises(error):
        read_file(sized(width, height))


def test_another_version_and_another_magic():
    for version in (0, *range(3, 16)):
        with pytest.raises(UnsupportedVersionError, match=f"version {version}, this nicodec reads versions 1 to 2"):
            read_file(PLAIN[:4] + bytes([version << 4 | PLAIN[4] & 15]) + PLAIN[5:])
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"\x8eNIB" + PLAIN[4:]):
        with pytest.raises(NotNicodecError):
            read_file(data)


def test_rules_on_sections():
    head, sq = write_header(HEADER), write_section(SQ, last=False)
    last = write_section(Section(SectionType.XMP, b""), last=True)

    def foreign_type(tag, last_bit=0x40):
        body = bytes([tag | last_bit, 0])
        return body + struct.pack("<I", zlib.crc32(body))

    assert SectionType.SQ in read_file(head + sq + foreign_type(0x80 | 60)).sections
    with pytest.raises(UnsupportedVersionError, match="section type 60"):
        read_file(head + sq + foreign_type(60))
    for wrong in (
        head + sq + sq + last,  # twice
        head + last + sq,  # something after the last
        head + sq,  # no last
        head + last,  # no picture
        head + sq + foreign_type(SectionType.EXIF),  # the wrong skippable bit
        head + foreign_type(0) + sq,
    ):
        with pytest.raises(CorruptFileError):
            read_file(wrong)
    many = b"".join(foreign_type(0x80 | kind, 0) for kind in range(9, 63))
    with pytest.raises(LimitError):
        read_file(head + sq + many)


def test_foreign_base_and_base_id_must_agree():
    with pytest.raises(CorruptFileError):
        read_file(write_file(HEADER, [Section(SectionType.FOREIGN, b"x")]))
    with pytest.raises(CorruptFileError):
        read_file(write_file(Header(8, 8, Colour.RGB, 8, 0, layout.NO_BASE), [SQ]))


@given(st.integers(0, (1 << 35) - 1))
def test_varints(value):
    written = write_varint(value)
    cursor = layout.Cursor(written, "test")
    assert cursor.varint() == value
    assert cursor.position == len(written) <= 5


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff\xff\xff\xff\xff\x01", b"\x80", b""])
def test_varints_not_in_their_shortest_form(data):
    with pytest.raises(CorruptFileError):
        layout.Cursor(data, "test").varint()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_cover_a_picture_once(width, height):
    cores = tiles(width, height)
    assert sum(tile.width * tile.height for tile in cores) == width * height
    assert max(max(tile.width, tile.height) for tile in cores) <= layout.TILE
    assert len(cores) == 1 or max(width, height) > layout.TILE


def test_tiles_round_trip_and_fail_alone():
    header = Header(3000, 1500, Colour.RGB, 8, 0, BASE)
    streams = [(index * 70000, bytes([index]) * (40 * index)) for index in range(6)]
    payload = write_tiles(streams)
    assert read_tiles(payload, header, "it") == streams
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 4
        with pytest.raises(CorruptFileError):
            read_tiles(bytes(damaged), header, "it")


@given(st.binary(max_size=5000))
def test_packed_metadata(data):
    for block in (data, data * 20):
        assert read_packed(write_packed(block), "it") == block


def test_packed_metadata_cannot_grow_beyond_what_it_declares():
    bomb = zlib.compress(bytes(10_000_000))
    with pytest.raises(CorruptFileError):
        read_packed(b"\x01" + write_varint(100) + bomb, "it")
    with pytest.raises(LimitError):
        read_packed(b"\x01" + write_varint(limits.MAX_METADATA + 1) + bomb, "it")
    for broken in (b"\x02\x00", b"\x00\x05abc", b"\x01\x05abc", b""):
        with pytest.raises(CorruptFileError):
            read_packed(broken, "it")


def test_format_page_says_what_the_code_does():
    assert layout.MAGIC.hex(" ").upper() in FORMAT
    rows = dict(re.findall(r"^\| (\d+) \| ([A-Z]+) \| [01] \|", FORMAT, re.M))
    assert {int(number): name for number, name in rows.items()} == {kind.value: kind.name for kind in SectionType}
    bits = dict(re.findall(r"^\| (\d+) \| [A-Z]+ \| ([01]) \|", FORMAT, re.M))
    assert {int(number) for number, bit in bits.items() if bit == "1"} == set(layout.SKIPPABLE_TYPES)
    for exponent, value in ((20, limits.MAX_SIDE), (28, limits.MAX_PIXELS), (24, limits.MAX_METADATA)):
        assert value == 1 << exponent
        assert f"2^{exponent}" in FORMAT
    assert f"| sections | {limits.MAX_SECTIONS} |" in FORMAT
    assert f"{layout.TILE}x{layout.TILE}" in FORMAT
