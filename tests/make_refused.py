"""Write files that must be refused, in folders named after their errors. Existing ones are never replaced.

    python tests/make_refused.py

What fuzzing finds goes there as well, by hand.
"""

import binascii
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).parent
FOLDER = TESTS / "refused"
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import numpy as np  # noqa: E402

from nicodec.bases.own_decoder import OwnDecoder  # noqa: E402
from nicodec.conformance.golden import use_golden_models  # noqa: E402
from nicodec.container.drawn import deflate, read_drawn, write_drawn  # noqa: E402
from nicodec.container.layout import Colour, Foreign, Header, Section, SectionType, Tune, write_varint  # noqa: E402
from nicodec.container.limits import MAX_METADATA  # noqa: E402
from nicodec.container.payloads import read_foreign, read_references, read_tiles, read_tokens  # noqa: E402
from nicodec.container.reader import read_file  # noqa: E402
from nicodec.container.references import (  # noqa: E402
    Alignment,
    Says,
    read_aligned,
    write_aligned,
)
from nicodec.container.writer import (  # noqa: E402
    write_file,
    write_foreign,
    write_header,
    write_packed,
    write_references,
    write_section,
    write_texture,
    write_tiles,
    write_tokens,
)
from nicodec.entropy.coder import encode_latent  # noqa: E402
from nicodec.rate.tile import TileRate  # noqa: E402
from nicodec.zoo.load import load_scales  # noqa: E402
from nicodec.zoo.store import find_part  # noqa: E402

GOLDEN = TESTS / "golden"
(PLAIN, TILED, TOKENS, ALONE, ALPHA, REFERRING, DRAWING, COLOURS, BESIDE, REFERS, REFERS_TO_ENTRY, TEXTURED,
 JPEG) = (
    (GOLDEN / f"{name}.nic").read_bytes()
    for name in (
        "effort9-60x40", "rgb-1100x70-q20", "tokens-90x70", "tokens-alone-64x48", "rgba-50x90-q40", "references-100x90",
        "drawn-alone-70x45", "drawn-alone-colours", "drawn-beside-150x100", "refers-96x80", "refers-to-an-entry",
        "texture-100x90",
        "jpeg-turned-52x37",
    )
)  # fmt: skip


def remade(data, drop=(), **payloads):
    """The file with other payloads, by their sections' names, under CRCs that hold."""
    file = read_file(data)
    sections = {kind: section.payload for kind, section in file.sections.items() if kind.name not in drop}
    sections |= {SectionType[name]: payload for name, payload in payloads.items()}
    return write_file(file.header, [Section(kind, payload) for kind, payload in sections.items()])


def resized(data, width, height):
    file = read_file(data)
    return write_file(replace(file.header, width=width, height=height), list(file.sections.values()))


def raw_header(data, **fields):
    """The file with bytes of its header changed (`_4` is number 4), under a CRC that holds."""
    head = bytearray(write_header(read_file(data).header)[:-2])
    rest = data[len(head) + 2 :]
    for at, byte in fields.items():
        head[int(at[1:])] = byte
    return bytes(head) + struct.pack("<H", binascii.crc_hqx(bytes(head), 0xFFFF)) + rest


def sealed(tag, payload):
    """A section with any tag."""
    body = bytes([tag]) + write_varint(len(payload)) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def restreamed(change):
    """PLAIN with its one tile's CRC and stream changed."""
    ((crc, stream),) = read_tiles(read_file(PLAIN).sections[SectionType.SQ].payload, read_file(PLAIN).header, "it")
    return remade(PLAIN, SQ=write_tiles([change(crc, stream)]))


def tokens(data=TOKENS, **fields):
    held = replace(read_tokens(read_file(data)), **fields)
    return remade(data, VQ=write_tokens(held.part_id, held.prior, held.depth, held.tiles))


def textured(data=TEXTURED, **fields):
    held = replace(read_tokens(read_file(data)), **fields)
    return remade(data, TEXTURE=write_texture(held.part_id, held.depth, held.tiles))


def second(data, **fields):
    """The file with the header of version 2."""
    file = read_file(data)
    return write_file(replace(file.header, version=2, **{"mapped": False, **fields}), list(file.sections.values()))


def settings(*said):
    """A file of version 2 with any byte of settings, and maybe a hint."""
    head = write_header(read_file(second(PLAIN, mapped=True)).header)[:-3] + bytes(said)
    head += struct.pack("<H", binascii.crc_hqx(head, 0xFFFF))
    return head + write_section(read_file(PLAIN).sections[SectionType.SQ], last=True)


def mapped(change=None, level=3):
    """PLAIN with a quality map, its one level and what is coded of its tile changed."""
    file = read_file(PLAIN)
    (held,) = OwnDecoder(file).symbols().values()
    latent = replace(held.latent, rate=TileRate(file.header.rate, levels=np.array([[level]], np.int16)))
    tile = latent.crc(), encode_latent(load_scales(find_part("base", file.header.base_id)), latent)
    sections = [Section(SectionType.SQ, write_tiles([change(*tile) if change else tile]))]
    return write_file(replace(file.header, version=2, mapped=True), sections)


def referring(data=None, **fields):
    """REFERS with fields of its one reference changed."""
    data = data or REFERS
    (held,) = read_aligned(read_file(data))
    return remade(data, REFERENCES=write_aligned((replace(held, **fields),), Says()))


def aligned(**fields):
    (held,) = read_aligned(read_file(REFERS))
    return referring(alignment=replace(held.alignment, **fields))


def unlit():
    """REFERS_TO_ENTRY, lying just so."""
    return referring(REFERS_TO_ENTRY, alignment=Alignment())


def renamed(name):
    """REFERS with other bytes for the name of what it refers to."""
    old = read_aligned(read_file(REFERS))[0].name.encode()
    change = bytes([len(old)]) + old, bytes([len(name)]) + name
    return remade(REFERS, REFERENCES=payload(REFERS).replace(*change))


def moved(change):
    """REFERS_TO_ENTRY with its motion changed."""
    file = read_file(REFERS_TO_ENTRY)
    (held,) = OwnDecoder(file).symbols().values()
    latent = replace(held.latent, motion=change(held.latent.motion))
    coded = latent.crc(), encode_latent(load_scales(find_part("base", file.header.base_id)), latent)
    return remade(REFERS_TO_ENTRY, SQ=write_tiles([coded]))


def payload(data):
    return read_file(data).payload(SectionType.REFERENCES)


def references(**fields):
    return remade(REFERRING, REFERENCES=write_references(replace(read_references(read_file(REFERRING)), **fields)))


def drawn(data, change=None, **fields):
    """The file with fields of its DRAWN section changed, or its stream."""
    file = read_file(data)
    held = replace(read_drawn(file.payload(SectionType.DRAWN), file.header), **fields)
    if change:
        held = replace(held, stream=change(held.stream))
    return remade(data, DRAWN=write_drawn(held))


def masked(change):
    """BESIDE with its mask changed."""
    file = read_file(BESIDE)
    return drawn(BESIDE, mask=change(read_drawn(file.payload(SectionType.DRAWN), file.header).mask))


def formed(form):
    """DRAWING with another form."""
    return remade(DRAWING, DRAWN=bytes([form]) + read_file(DRAWING).payload(SectionType.DRAWN)[1:])


def foreign(**fields):
    held = Foreign("compressai:mbt2018-mean-q3", bytes(range(8)), (1, 1), [b"a", b"b"])
    header = Header(64, 64, Colour.RGB, 8, 0, bytes(8))
    return write_file(header, [Section(SectionType.FOREIGN, write_foreign(replace(held, **fields)))])


def jpeg(change=bytes, header=(), **fields):
    """The file that keeps a JPEG, with another header, or with that changed."""
    file = read_file(JPEG)
    held = read_foreign(file)
    held = replace(held, **{"strings": [change(held.strings[0])], **fields})
    return write_file(replace(file.header, **dict(header)), [Section(SectionType.FOREIGN, write_foreign(held))])


def resized_frame(data):
    """A JPEG whose head says 60000x60000 pixels."""
    at = data.index(b"\xff\xc0\0\x11\x08") + 5
    return data[:at] + struct.pack(">2H", 60000, 60000) + data[at + 4 :]


def cases():
    head, sq = write_header(read_file(PLAIN).header), read_file(PLAIN).sections[SectionType.SQ]
    tiles = read_file(TILED).sections[SectionType.SQ].payload
    return {
        "NotNicodecError": {
            "png": b"\x89PNG\r\n\x1a\n" + bytes(40), "text-mode": PLAIN.replace(b"\x8e", b"\x0e", 1),
            "cut-in-magic": PLAIN[:3],
        },
        "UnsupportedVersionError": {
            "version-0": raw_header(PLAIN, _4=PLAIN[4] - 16), "version-3": raw_header(PLAIN, _4=PLAIN[4] + 32),
            "drawn-blocks": head + write_section(sq, last=False) + sealed(0x40 | 9, b"drawn"),
            "unknown-critical-section": head + write_section(sq, last=False) + sealed(0x40 | 50, b"new"),
        },
        "CorruptFileError": {
            "cut-in-header": PLAIN[:12], "cut-in-section": PLAIN[:-30], "cut-before-section": head,
            "flipped-in-header": bytes([*PLAIN[:8], PLAIN[8] ^ 4, *PLAIN[9:]]),
            "flipped-in-section": bytes([*PLAIN[:90], PLAIN[90] ^ 4, *PLAIN[91:]]),
            "bytes-after": PLAIN + b"\0",
            "no-width": raw_header(PLAIN, _5=0),
            "hint-of-101": raw_header((GOLDEN / "hint-16-bit.nic").read_bytes(), _17=0x80 | 101),
            "long-varint": head + bytes([0x40 | 3, 0x80, 0x00]) + struct.pack("<I", zlib.crc32(bytes([0x43, 0x80, 0]))),
            "no-picture": head + write_section(Section(SectionType.XMP, b"\0\0"), last=True),
            "a-section-twice": head + write_section(sq, last=False) + write_section(sq, last=True),
            "sections-descend": head + write_section(Section(SectionType.ALPHA, b"\0\1"), last=False)
            + write_section(sq, last=True),
            "wrong-skippable-bit": head + sealed(0x80 | 0x40 | 3, sq.payload),
            "tile-longer-than-section": remade(TILED, SQ=b"\xff\xff\x03" + tiles[2:]),
            "tile-damaged": remade(TILED, SQ=tiles[:-1] + bytes([tiles[-1] ^ 1])),
            "bytes-after-tiles": remade(TILED, SQ=tiles + b"\0"),
            "fewer-tiles-than-declared": resized(TILED, 3000, 70),
            "one-tile-declared": resized(TILED, 900, 70),
            "stream-of-odd-length": restreamed(lambda crc, stream: (crc, stream[:-1])),
            "stream-too-long": restreamed(lambda crc, stream: (crc, stream + bytes(8))),
            "stream-of-ones": restreamed(lambda crc, stream: (crc, b"\xff" * len(stream))),
            "section-of-nothing": remade(PLAIN, SQ=b""),
            "alpha-of-another-size": remade(ALPHA, ALPHA=b"\1" + zlib.compress(bytes(50 * 90 - 1))),
            "alpha-that-grows": remade(ALPHA, ALPHA=b"\1" + zlib.compress(bytes(1 << 22))),
            "alpha-of-no-method": remade(ALPHA, ALPHA=b"\4\0"),
            "alpha-of-nothing": remade(ALPHA, ALPHA=b""),
            "metadata-that-grows": remade(PLAIN, XMP=b"\1" + write_varint(9) + zlib.compress(bytes(1 << 22))),
            "metadata-of-no-method": remade(PLAIN, EXIF=b"\2\0"),
            "metadata-too-short": remade(PLAIN, ICC=b"\0\5abc"),
            "tokens-of-no-bits": tokens(depth=0), "tokens-of-17-bits": tokens(depth=17),
            "texture-alone": remade(TEXTURED, drop=("SQ",)), "texture-of-no-bits": textured(depth=0),
            "tokens-deeper-than-codebook": tokens(depth=7), "tokens-of-no-prior": tokens(prior=2),
            "tokens-without-their-latent": remade(TOKENS, drop=("SQ",)),
            "tokens-cut": tokens(tiles=[(0, b"")]) , "tokens-of-odd-length": tokens(tiles=[(0, b"abc")]),
            "base-of-nobody": write_file(replace(read_file(PLAIN).header, base_id=bytes(8)), [sq]),
            "references": remade(PLAIN, REFERENCES=bytes(10)),
            "references-beside-no-latent": remade(ALONE, REFERENCES=payload(REFERRING)),
            "references-of-18-bits": references(id_bits=18), "references-of-nothing": references(ids=()),
            "references-that-fall": references(ids=(3, 2)), "references-twice": references(ids=(2, 2)),
            "references-cut": remade(REFERRING, REFERENCES=payload(REFERRING)[:-1]),
            "references-with-loose-bits": remade(REFERRING, REFERENCES=payload(REFERRING)[:-1] + b"\xff"),
            "references-beyond-the-dictionary": references(ids=(1, 15)),
            "references-of-other-bits": references(id_bits=9),
            "foreign-with-base": write_file(
                read_file(PLAIN).header, [Section(SectionType.FOREIGN, read_file(foreign()).sections[4].payload)]
            ),
            "foreign-with-a-path": foreign(name="../../weights"),
            "foreign-latent-too-large": foreign(shape=(1, 1 << 20)),
            "jpeg-cut": jpeg(lambda data: data[: len(data) // 2]), "jpeg-empty": jpeg(lambda data: b""),
            "jpeg-that-is-a-png": jpeg(lambda data: (GOLDEN / "jpeg-turned-52x37.png").read_bytes()),
            "jpeg-of-60000-pixels": jpeg(resized_frame),
            "jpeg-of-other-sides": jpeg(header={"width": 38}),
            "jpeg-not-turned": jpeg(header={"width": 52, "height": 37}),
            "jpeg-that-is-no-grey": jpeg(header={"colour": Colour.GREY}),
            "jpeg-twice": jpeg(strings=2 * read_foreign(read_file(JPEG)).strings),
            "jpeg-with-weights": jpeg(weights_id=bytes(range(8))), "jpeg-of-version-1": jpeg(header={"version": 1}),
            "jpeg-beside-exif": remade(JPEG, EXIF=write_packed(b"Exif")),
            "settings-of-nothing": settings(0), "settings-of-tune-2": settings(2), "settings-of-tune-3": settings(3),
            "settings-with-bit-4": settings(0x14), "settings-with-bit-7": settings(0x84),
            "settings-with-a-hint-of-101": settings(12, 101),
            "tune-that-the-base-does-not-have": second(PLAIN, tune=Tune.EYE),
            "tune-not-said": second((GOLDEN / "tune-psnr-90x130.nic").read_bytes(), tune=None),
            "tokens-of-version-2": second(TOKENS), "tokens-alone-of-version-2": second(ALONE),
            "map-of-table-64": mapped(lambda crc, coded: (crc, b"\x40" + coded[1:])),
            "map-of-table-255": mapped(lambda crc, coded: (crc, b"\xff" + coded[1:])),
            "map-of-level-16": mapped(level=16), "map-of-level-minus-17": mapped(level=-17),
            "map-of-level-32767": mapped(level=32767),
            "map-missing": mapped(lambda crc, coded: (crc, coded[1:])),
            "map-alone": mapped(lambda crc, coded: (crc, coded[:1])),
            "drawn-without-a-form": second(PLAIN)[: len(head)] + write_section(sq, last=False)
            + sealed(0x40 | 9, b"drawn"),
            "drawn-of-nothing": remade(DRAWING, DRAWN=b""), "drawn-of-method-2": formed(2),
            "drawn-of-method-15": formed(15),
            "drawn-with-bit-5": formed(0x20), "drawn-with-bit-7": formed(0x80), "drawn-without-its-mask": formed(0x10),
            "drawn-without-a-stream": drawn(DRAWING, lambda stream: b""),
            "drawn-mask-of-none": masked(lambda mask: bytes(len(mask))),
            "drawn-mask-of-all": masked(lambda mask: b"\xff" * (len(mask) - 1) + b"\xf0"),
            "drawn-mask-outside": masked(lambda mask: mask[:-1] + bytes([mask[-1] | 1])),
            "drawn-mask-too-long": masked(lambda mask: mask + b"\0"),
            "drawn-mask-too-short": masked(lambda mask: mask[:-1]),
            "drawn-other-mask": masked(lambda mask: bytes([mask[0] ^ 0x80]) + mask[1:]),
            "drawn-palette-index": drawn(DRAWING, lambda stream: b"\5" + deflate(bytes(18) + b"\xff" * (45 * 35))),
            "drawn-palette-short": drawn(DRAWING, lambda stream: b"\5" + deflate(bytes(18 + 45 * 35 - 1))),
            "drawn-palette-long": drawn(DRAWING, lambda stream: b"\5" + deflate(bytes(18 + 45 * 35 + 1))),
            "drawn-palette-bomb": drawn(DRAWING, lambda stream: b"\0" + deflate(bytes(1 << 24))),
            "drawn-palette-and-more": drawn(DRAWING, lambda stream: stream + b"\0"),
            "drawn-webp-cut": drawn(COLOURS, lambda stream: stream[: len(stream) // 2]),
            "drawn-webp-missing": drawn(COLOURS, lambda stream: b""),
            "drawn-webp-of-ones": drawn(COLOURS, lambda stream: b"\xff" * len(stream)),
            "drawn-alone-with-a-mask": drawn(DRAWING, mask=b"\x80"),
            "drawn-alone-with-a-base": write_file(
                replace(read_file(DRAWING).header, base_id=read_file(PLAIN).header.base_id),
                list(read_file(DRAWING).sections.values()),
            ),
            "drawn-beside-foreign": write_file(
                replace(read_file(foreign()).header, version=2),
                [*read_file(foreign()).sections.values(), *read_file(DRAWING).sections.values()],
            ),
            "drawn-beside-no-base": write_file(
                replace(read_file(BESIDE).header, base_id=bytes(8)), list(read_file(BESIDE).sections.values())
            ),
            "references-of-version-2": second(REFERRING),
            "refers-in-another-way": remade(REFERS, REFERENCES=b"\x08" + payload(REFERS)[1:]),
            "refers-and-does-not-say-what-is-shown": remade(
                REFERS_TO_ENTRY, REFERENCES=b"\1" + payload(REFERS_TO_ENTRY)[1:]),
            "refers-and-does-not-say-how-blocks-are-split": remade(
                REFERS_TO_ENTRY, REFERENCES=b"\2" + payload(REFERS_TO_ENTRY)[1:]),
            "refers-to-none": remade(REFERS, REFERENCES=b"\0\0" + payload(REFERS)[2:]),
            "refers-to-nine": remade(REFERS, REFERENCES=b"\0\x09" + 9 * payload(REFERS)[2:]),
            "refers-to-two-of-one": remade(REFERS, REFERENCES=b"\0\2" + payload(REFERS)[2:]),
            "refers-and-more": remade(REFERS, REFERENCES=payload(REFERS) + b"\0"),
            "refers-cut": remade(REFERS, REFERENCES=payload(REFERS)[:-1]),
            "refers-of-nothing": remade(REFERS, REFERENCES=b""),
            "refers-of-form-4": remade(REFERS, REFERENCES=payload(REFERS)[:2] + b"\4" + payload(REFERS)[3:]),
            "refers-to-a-folder-above": renamed(b"../rgb-96x80-q50.nic"), "refers-to-dots": renamed(b".."),
            "refers-to-a-drive": renamed(b"c:x.nic"), "refers-to-no-text": renamed(b"\xff\xfe"),
            "refers-to-a-line-end": renamed(b"a\nb"),
            "refers-mirrored": aligned(corners=((1600, 0), (-1600, 0), (1600, 0), (-1600, 0))),
            "refers-collapsed": aligned(corners=((0, 0), (-1536, 0), (0, -1536), (-1536, -1536))),
            "refers-too-far": aligned(corners=((1 << 25, 0), (1 << 25, 0), (1 << 25, 0), ((1 << 25) + 1, 0))),
            "refers-without-gain": aligned(light=((0, 0),) * 3),
            "refers-with-much-gain": aligned(light=((4097, 0),) * 3),
            "refers-with-much-light": aligned(light=((1024, 1025),) * 3),
            "refers-unlit-but-said": remade(
                REFERS_TO_ENTRY,
                REFERENCES=payload(unlit())[:2] + bytes([payload(unlit())[2] | 1]) + payload(unlit())[3:] + bytes(6),
            ),
            "refers-without-a-section": remade(REFERS, drop=("REFERENCES",)),
            "refers-without-saying-so": second(REFERS, referring=False),
            "refers-to-the-second-of-one": moved(lambda held: replace(held, sources=held.sources * np.uint8(2))),
            "refers-without-a-motion": second(PLAIN, referring=True),
            "map-not-said": second(mapped()), "map-said-of-none": second(PLAIN, mapped=True),
        },
        "LimitError": {
            "side-of-2-to-31": resized(PLAIN, 1 << 31, 1), "pixels-2-to-29": resized(PLAIN, 1 << 15, 1 << 14),
            "huge-in-few-bytes": resized(PLAIN, 11000, 11000), "long-in-few-bytes": resized(PLAIN, 1 << 20, 1),
            "drawn-huge-in-few-bytes": resized(DRAWING, 11000, 11000),
            "33-sections": head + write_section(sq, last=False)
            + b"".join(sealed(0x80 | kind, b"") for kind in range(9, 63)),
            "metadata-beyond-16-mb": remade(PLAIN, XMP=b"\1" + write_varint(MAX_METADATA + 1) + zlib.compress(b"a")),
        },
        "MissingPartError": {
            "another-base": write_file(replace(read_file(PLAIN).header, base_id=b"\7" * 8), [sq]),
            "another-dictionary": references(dictionary_id=b"\7" * 8),
            "another-codebook": tokens(ALONE, part_id=b"\7" * 8), "another-codec": foreign(),
        },
        "MissingReferenceError": {
            "refers-to-no-file": referring(id=b"\7" * 8),
            "refers-to-no-dictionary": referring(REFERS_TO_ENTRY, id=b"\7" * 8),
            "refers-beyond-the-dictionary": referring(REFERS_TO_ENTRY, index=2), "refers-without-a-name": renamed(b""),
        },
        "InexactError": {
            "other-motion": remade(REFERS_TO_ENTRY, SQ=(lambda sq: bytes([sq[0] ^ 1]) + sq[1:])(
                read_file(REFERS_TO_ENTRY).sections[SectionType.SQ].payload)),
            "other-drawn-blocks": drawn(DRAWING, crc=0), "other-drawn-colours": drawn(COLOURS, crc=0),
            "other-levels": mapped(lambda crc, coded: (crc ^ 1, coded)),
            "other-symbols": restreamed(lambda crc, stream: (crc ^ 1, stream)),
            "other-tokens": tokens(tiles=[(crc ^ 1, stream) for crc, stream in read_tokens(read_file(TOKENS)).tiles]),
        },
    }  # fmt: skip


def main():
    use_golden_models()
    for error, files in cases().items():
        (FOLDER / error).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            if not (FOLDER / error / f"{name}.nic").exists():
                (FOLDER / error / f"{name}.nic").write_bytes(data)


if __name__ == "__main__":
    main()
