"""What is fuzzed: bytes in; a NicodecError, or nothing, out. Anything else is a defect."""

import contextlib
from functools import cache

import numpy as np
import pictures

from nicodec.bitmap import bit_costs
from nicodec.codec import decode_taus, verify_bytes
from nicodec.conformance.golden import golden_files, golden_folder
from nicodec.container.dictionary import read_dictionary
from nicodec.container.info import describe
from nicodec.container.layout import Header, Section, SectionType, Tune
from nicodec.container.payloads import read_foreign, read_tiles, read_tokens
from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.container.writer import write_file, write_packed
from nicodec.entropy.coder import decode_latent
from nicodec.entropy.motion import Motion
from nicodec.entropy.tokens import decode_tokens
from nicodec.errors import NicodecError
from nicodec.image.files import read_picture
from nicodec.image.kept import unpack_blocks, unpack_metadata, unpack_transparency
from nicodec.options import DecodeOptions
from nicodec.rate.tile import TileRate
from nicodec.references.library import Held
from nicodec.zoo.load import load_prior, load_scales
from nicodec.zoo.store import find_package

MODEL = "tiny-full"
PICTURES = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "AVIF")
MAX_PIXELS = 1 << 17  # of what `whole` decodes: the golden files with several tiles too


@cache
def seeds():
    """Whole files of every kind: the golden ones."""
    return [path.read_bytes() for path in golden_files()]


@cache
def referred():
    """What golden files refer to."""
    return tuple(Held.given(path) for path in golden_folder().glob("r*.[np][in][cg]"))


def dictionary(data):
    """Dictionaries, which strangers may send too."""
    with contextlib.suppress(NicodecError):
        assert read_dictionary(data).entries


def seeds_of(name):
    """What a target's mutations start from."""
    if name == "dictionary":
        return [path.read_bytes() for path in golden_folder().glob("*.nicdict")]
    if name == "picture":
        return [pictures.file_bytes(pictures.image(40, 30), kind) for kind in PICTURES]
    if name == "entropy":
        files = [read_file(data) for data in seeds()]
        payloads = [(file.header.rate, file.payload(SectionType.SQ)) for file in files]
        return [b"\0" + rate.to_bytes(2, "big") + payload[3:] for rate, payload in payloads if payload]
    return seeds()


def container(data):
    """Everything that reads bytes without a model."""
    with contextlib.suppress(NicodecError):
        file = read_file(data)
        for part in (
            describe,
            read_aligned,
            read_tokens,
            read_foreign,
            unpack_transparency,
            unpack_blocks,
            unpack_metadata,
        ):
            with contextlib.suppress(NicodecError):
                if part not in (unpack_transparency, unpack_blocks) or file.header.width * file.header.height < 1 << 22:
                    part(file)
        if (payload := file.payload(SectionType.SQ)) is not None and file.header.width * file.header.height < 1 << 24:
            read_tiles(payload, file.header, "it")


def entropy(data):
    """Streams of symbols and tokens, whatever their words are."""
    parts = find_package(MODEL).parts
    kind, rate, stream = data[:1], int.from_bytes(data[1:3].ljust(2, b"\0"), "big"), data[3:]
    flags = kind[0] if kind else 0
    rows, columns, mapped, referring = 1, 1 + (flags & 1), flags in (2, 3, 6, 7), flags in (4, 5, 6, 7)
    said = {"shown": flags in (5, 7), "splits": bool(rate & 1)}
    motion = Motion.none(rows, columns, **said) if referring else None
    latent = None
    with contextlib.suppress(NicodecError):
        latent = decode_latent(load_scales(parts["base"]), stream, rows, columns, TileRate(rate), mapped, motion)
    with contextlib.suppress(NicodecError):
        decode_tokens(load_prior(parts["vq"]), stream, (4 * rows, 4 * columns), 6, latent)


def whole(data):
    """Decoding in full, strictly, with best effort, and what else walks a file."""
    options = {"device": "cpu", "max_pixels": MAX_PIXELS, "steps": 1, "references": referred()}
    for anchor, best_effort in (("fidelity", False), ("perception", True)):
        with contextlib.suppress(NicodecError):
            picture = decode_taus(data, DecodeOptions(anchor, (0.0, 1.0), best_effort=best_effort, **options))[1]
            assert picture.pixels.dtype == np.uint8
    with contextlib.suppress(NicodecError):
        if 0 < read_file(data).header.width * read_file(data).header.height <= MAX_PIXELS:
            verify_bytes(data)
            bit_costs(read_file(data))


def picture(data):
    """Picture files that `encode` is given."""
    for allowed in (False, True):
        with contextlib.suppress(NicodecError):
            read_picture(data, allow_8bit=allowed, allow_damaged=allowed)


TARGETS = {"dictionary": dictionary, "container": container, "entropy": entropy, "whole": whole, "picture": picture}


def mutated(data, random):
    """A changed file: half of the time of any bytes, half of it of fields and payloads under CRCs that hold."""
    with contextlib.suppress(NicodecError):
        if random.random() < 0.5:
            return _restructured(read_file(data), random)
    return _changed(data, random)


def _changed(data, random):
    data = bytearray(data)
    for _ in range(int(random.integers(1, 8))):
        at, kind = int(random.integers(0, len(data) + 1)), random.integers(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1 and at < len(data):
            data[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[at : at + int(random.integers(1, 9))]
        elif kind == 3:
            data[at:at] = random.bytes(int(random.integers(1, 9)))
        elif random.random() < 0.2:
            del data[at:]
    return bytes(data)


def _restructured(file, random):
    header = file.header
    kept = ("width", "height", "rate", "base_id", "version", "tune", "mapped", "referring")
    fields = {name: getattr(header, name) for name in kept}
    if random.random() < 0.4:
        fields["width"] = int(random.choice([1, 64, 65, header.width + 1, 1024, 1025, 1 << 20]))
    if random.random() < 0.3:
        fields["height"] = int(random.choice([1, 64, 65, header.height + 1, 1025, 1 << 20]))
    if random.random() < 0.3:
        fields["rate"] = int(random.integers(65536))
    if random.random() < 0.05:
        fields["base_id"] = bytes(8)
    if random.random() < 0.3:
        fields |= {"version": 2, "tune": random.choice([None, *Tune]), "mapped": bool(random.integers(2))}
        fields |= {"referring": bool(random.integers(2))} if random.random() < 0.3 else {}
    sections = []
    for kind, section in file.sections.items():
        fate = random.random()
        if fate < 0.15:
            continue
        payload = _changed(section.payload, random) if fate < 0.6 and section.payload else section.payload
        if fate > 0.95:
            payload = write_packed(bytes(int(random.integers(1 << 16))))
        sections.append(Section(kind, payload))
    return write_file(Header(colour=header.colour, bit_depth=header.bit_depth, **fields), sections)


def walked(seed):
    """Input number `seed` of the repeatable walk."""
    random = np.random.default_rng(seed)
    data = seeds()[seed % len(seeds())]
    for _ in range(int(random.integers(1, 4))):
        data = mutated(data, random)
    return data
