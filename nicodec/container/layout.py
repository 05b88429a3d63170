"""The fields of a .nic file: names, widths, values. FORMAT.md says the same in words, and a test compares the two."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from nicodec.errors import CorruptFileError

MAGIC = b"\x8eNIC"
MIME_TYPE = "image/x-nicodec"
VERSIONS = (1, 2)
ID_BYTES = 8
NO_BASE = bytes(ID_BYTES)
SYMBOLS_CRC_BYTES = 3

TILE = 1024  # sides of a tile's core in pixels
JPEG = "jpeg"  # the name of the codec whose one string is a JPEG file
WITHOUT_HYPERPRIOR = "compressai:bmshj2018-factorized-"  # the codecs whose last latent is y itself
STRIDE = 64  # a tile's sides are padded to multiples of this many pixels

LAST_SECTION = 0x40
SKIPPABLE = 0x80
TYPE_MASK = 0x3F

TUNE_MASK = 0x03  # of the settings, which version 2 may have after the base id
MAPPED = 0x04
HINTED = 0x08
REFERRING = 0x10


class SectionType(IntEnum):
    """What a section holds. Sections stand in this order, each at most once.

    Version 2 alone has DRAWN, TEXTURE and another payload of REFERENCES.
    """

    ICC = 1
    REFERENCES = 2
    SQ = 3
    FOREIGN = 4
    VQ = 5
    ALPHA = 6
    EXIF = 7
    XMP = 8
    DRAWN = 9
    TEXTURE = 10


class Tune(IntEnum):
    """What a base's gains were trained to please, in the order of its tables. Where there is one, it has no name."""

    EYE = 0
    PSNR = 1


SKIPPABLE_TYPES = frozenset({SectionType.VQ, SectionType.EXIF, SectionType.XMP, SectionType.TEXTURE})


class Colour(IntEnum):
    """What the decoded pixels are."""

    GREY = 0
    RGB = 1


class Anchor(IntEnum):
    """Which expert the decoder starts from."""

    FIDELITY = 0
    PERCEPTION = 1


class Prior(IntEnum):
    """What the probabilities of tokens depend on: nothing, or the symbols of the SQ section."""

    STATIC = 0
    SQ = 1


MAX_TOKEN_BITS = 16
MAX_ID_BITS = 17
MAX_REFERENCES = 8
TileBody = tuple[int, bytes]  # the CRC of a tile's symbols, and its coded bytes
BIT_DEPTHS = (8, 10, 12, 16)


@dataclass(frozen=True)
class Hint:
    """What the encoder recommends to a decoder that was not told: anchor, and tau in percent (0..100)."""

    anchor: Anchor
    tau_percent: int


@dataclass(frozen=True)
class Header:
    """The first bytes of a file.

    Attributes:
        width, height: pixels, 1..2^20.
        colour: of the decoded picture, alpha aside.
        bit_depth: of the source's samples; one of BIT_DEPTHS.
        rate: 0..65535, see `nicodec.rate.scale`.
        base_id: first 8 bytes of the SHA-256 of the base that made the symbols; zeros for a foreign base.
        hint: recommended way to decode, if any.
        version: of the format, one of VERSIONS.
        tune: of the base, which the symbols were made with. None: the base has one; version 1 knows no other.
        mapped: whether each tile has a quality map. Version 1 knows none.
        referring: whether tiles say what of them lies where in the references, which is version 2's way to refer.
    """

    width: int
    height: int
    colour: Colour
    bit_depth: int
    rate: int
    base_id: bytes
    hint: Hint | None = None
    version: int = 1
    tune: Tune | None = None
    mapped: bool = False
    referring: bool = False

    def __post_init__(self) -> None:
        if self.version == 1 and (self.tune is not None or self.mapped or self.referring):
            raise ValueError("a file of version 1 has neither several tunes nor a quality map nor aligned references")


@dataclass(frozen=True)
class Foreign:
    """Another codec's file.

    Attributes:
        name: of the codec, such as `compressai:mbt2018-mean-q3`, or JPEG; ASCII.
        weights_id: first 8 bytes of the SHA-256 of the weights' safetensors file; zeros for a JPEG.
        shape: height and width of its last latent, see `foreign_shape`.
        strings: what it wrote, in its own order.
        crc: the low 24 bits of the CRC-32 over y's symbols: what its coder of y codes, whole numbers, position by
            position in raster order, all channels of each, as little-endian int32. None: the file has none, as a JPEG.
    """

    name: str
    weights_id: bytes
    shape: tuple[int, int]
    strings: list[bytes] = field(repr=False)
    crc: int | None = None


@dataclass(frozen=True)
class Section:
    """One section's type (6 bits, known or not), whether a reader may skip it, and its payload."""

    type: int
    payload: bytes = field(repr=False)

    @property
    def skippable(self) -> bool:
        """Whether a reader that does not know this type may go on without it."""
        return self.type in SKIPPABLE_TYPES


@dataclass(frozen=True)
class TokenStreams:
    """A VQ or a TEXTURE section.

    Attributes:
        kind: of the part whose codebook the tokens are of: `vq` or `texture`.
        part_id: first 8 bytes of the SHA-256 of that part.
        prior: what their probabilities depend on.
        depth: bits a token, 1..MAX_TOKEN_BITS.
        tiles: of each tile, the CRC of its tokens and its coded bytes; None where a tile is damaged.
    """

    kind: str
    part_id: bytes
    prior: Prior
    depth: int
    tiles: list[TileBody | None]


@dataclass(frozen=True)
class References:
    """A REFERENCES section of version 1; `container.references` has that of version 2.

    Attributes:
        dictionary_id: first 8 bytes of the SHA-256 of the dictionary part.
        id_bits: of an ID, 1..MAX_ID_BITS.
        ids: 1..MAX_REFERENCES of them, rising: which references a picture has counts, their order does not.
    """

    dictionary_id: bytes
    id_bits: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels: a tile's core, or what is to be decoded."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns, to index pixels with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of z for a tile of this size, in positions of STRIDE pixels."""
        return -(-self.height // STRIDE), -(-self.width // STRIDE)

    def common(self, other: Box, margin: int = 0) -> Box | None:
        """What lies in both, once the other is grown by `margin` pixels all round; None where nothing does."""
        left, top = max(self.left, other.left - margin), max(self.top, other.top - margin)
        right = min(self.left + self.width, other.left + other.width + margin)
        bottom = min(self.top + self.height, other.top + other.height + margin)
        return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None


def tiles(width: int, height: int) -> list[Box]:
    """All tiles of a picture in raster order. Up to TILE x TILE there is one."""
    return [
        Box(left, top, min(TILE, width - left), min(TILE, height - top))
        for top in range(0, height, TILE)
        for left in range(0, width, TILE)
    ]


def foreign_shape(name: str, width: int, height: int) -> tuple[int, int]:
    """Height and width of the last latent that a codec makes of a picture: z at 1/64, or y at 1/16 where that is all.

    Sides of the picture are filled up to multiples of STRIDE.
    """
    rows, columns = Box(0, 0, width, height).grid
    scale = STRIDE // 16 if name.startswith(WITHOUT_HYPERPRIOR) else 1
    return rows * scale, columns * scale


def write_varint(value: int) -> bytes:
    """An unsigned integer as little-endian groups of 7 bits, high bit set on all but the last byte."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


class Cursor:
    """Reads fields off bytes, and refuses to read past their end."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what, self.position = data, what, 0

    def take(self, count: int, *, short: bool = False) -> bytes:
        """The next `count` bytes; with `short`, what there is of them.

        Raises:
            CorruptFileError: there are not as many.
        """
        piece = self.data[self.position : self.position + count]
        if len(piece) < count and not short:
            raise CorruptFileError(f"{self.what} ends after {len(self.data)} bytes: truncated")
        self.position += len(piece)
        return piece

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes, little-endian."""
        return int(struct.unpack("<H", self.take(2))[0])

    def u32(self) -> int:
        """Four bytes, little-endian."""
        return int(struct.unpack("<I", self.take(4))[0])

    def symbols_crc(self) -> int:
        """The CRC of a tile's symbols."""
        return int.from_bytes(self.take(SYMBOLS_CRC_BYTES), "little")

    def varint(self) -> int:
        """An unsigned integer of at most 5 bytes, in its shortest form.

        Raises:
            CorruptFileError: longer, or with needless zero groups.
        """
        value = 0
        for index in range(5):
            group = self.byte()
            value |= (group & 0x7F) << (7 * index)
            if group < 0x80:
                if index and not group:
                    break
                return value
        raise CorruptFileError(f"{self.what} holds a number that is not in its shortest form")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.position)
