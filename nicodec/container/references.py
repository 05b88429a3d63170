"""The payload of a REFERENCES section of version 2: which pictures a file refers to, and how each lies under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nicodec.container.drawn import SIDE
from nicodec.container.layout import ID_BYTES, MAX_REFERENCES, Cursor, SectionType, write_varint
from nicodec.container.reader import NicFile
from nicodec.errors import CorruptFileError

WHAT = "the REFERENCES section"
# Bits of `kind`: blocks say whether they show a reference's own pixels; and how they are split; a trust is named.
SHOWN, SPLIT, TRUST = 1, 2, 4
MOST_KIND = SHOWN | SPLIT | TRUST
TRUST_BYTES = 3  # of the id of a trust: few are on one base, and small files feel every byte
FILE, ENTRY = 0, 1  # what a reference is: a file, or an entry of a dictionary
MAX_NAME = 255  # bytes
FARTHEST = 1 << 25  # sixteenths of a pixel that a corner may be moved by
LIT = 1  # the bit of `form` that says that brightness follows
GAIN = 1024  # that leaves a channel as it is
GAINS, OFFSETS = range(1, 4 * GAIN + 1), range(-1024, 1025)
UNLIT = ((GAIN, 0),) * 3
Homography = tuple[tuple[int, int, int], ...]


class Says(NamedTuple):
    """What the blocks of a file say besides their sources, their vectors and their positions' classes."""

    shown: bool = False
    splits: bool = False


@dataclass(frozen=True)
class Alignment:
    """How a reference lies under the picture.

    Attributes:
        corners: where the picture's corners (top left, top right, bottom left, bottom right) lie in the reference: by
            how much (x, y) they are moved, in sixteenths of a pixel.
        light: for each channel (R, G, B), the gain in 1/GAIN, and the offset in quarters of a level, that give it the
            picture's brightness.
    """

    corners: tuple[tuple[int, int], ...] = ((0, 0),) * 4
    light: tuple[tuple[int, int], ...] = UNLIT

    def homography(self, width: int, height: int) -> Homography:
        """What takes a picture of this size there, in whole numbers.

        Returns:
            Rows (x, y, under) of factors of (column, row, 1), counted in blocks: x and y over `under` are sixteenths
            of a pixel.

        Raises:
            CorruptFileError: no homography takes the picture's corners there.
        """
        across, down = -(-width // SIDE), -(-height // SIDE)
        places = ((0, 0), (across, 0), (0, down), (across, down))
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
            (16 * SIDE * x + dx, 16 * SIDE * y + dy) for (x, y), (dx, dy) in zip(places, self.corners, strict=True)
        )
        right, below, skew = (x1 - x3, y1 - y3), (x2 - x3, y2 - y3), (x0 - x1 + x3 - x2, y0 - y1 + y3 - y2)
        whole = below[0] * right[1] - right[0] * below[1]
        tilt = below[0] * skew[1] - skew[0] * below[1]
        lean = skew[0] * right[1] - right[0] * skew[1]
        if min(whole, whole + tilt, whole + lean, whole + tilt + lean) <= 0:
            raise CorruptFileError("the corners of a reference do not lie as a picture's do, seen from anywhere")
        area = across * down
        return (
            ((whole * (x1 - x0) + tilt * x1) * down, (whole * (x2 - x0) + lean * x2) * across, whole * x0 * area),
            ((whole * (y1 - y0) + tilt * y1) * down, (whole * (y2 - y0) + lean * y2) * across, whole * y0 * area),
            (tilt * down, lean * across, whole * area),
        )


@dataclass(frozen=True)
class Reference:
    """A picture that a file refers to.

    Attributes:
        id: the first 8 bytes of the SHA-256 of the file that it is; or of the dictionary that holds it.
        name: the file's, without folders; None: it is an entry of a dictionary.
        index: of the entry in its dictionary.
        alignment: how it lies under the picture.
    """

    id: bytes
    name: str | None
    index: int = 0
    alignment: Alignment = Alignment()

    def __str__(self) -> str:
        """As errors and `info` name it."""
        if self.name is None:
            return f"entry {self.index} of dictionary {self.id.hex()}"
        return f"{self.name or 'a file without a name'} ({self.id.hex()})"


def write_aligned(references: tuple[Reference, ...], says: Says, trust: bytes | None = None) -> bytes:
    """The payload of a REFERENCES section of version 2.

    Args:
        says: what its blocks do.
        trust: id of the part that tells how far references are trusted; None: they are so as they stand.
    """
    kind = SHOWN * says.shown | SPLIT * says.splits | TRUST * (trust is not None)
    named = (trust or b"")[:TRUST_BYTES]
    return bytes([kind, len(references)]) + named + b"".join(map(_write_reference, references))


def what_blocks_say(file: NicFile) -> Says:
    """What the blocks of a file of version 2 say."""
    payload = file.payload(SectionType.REFERENCES) if file.header.referring else None
    kind = payload[0] if payload else 0
    return Says(bool(kind & SHOWN), bool(kind & SPLIT))


def trust_of(file: NicFile) -> bytes | None:
    """The first TRUST_BYTES of the id of the trust that a file of version 2 names; None: it names none.

    Raises:
        CorruptFileError: as `read_aligned`.
    """
    payload = file.payload(SectionType.REFERENCES)
    if not read_aligned(file) or payload is None or not payload[0] & TRUST:
        return None
    return payload[2 : 2 + TRUST_BYTES]


def read_aligned(file: NicFile) -> tuple[Reference, ...]:
    """The references of a file of version 2; none where it has none.

    Raises:
        CorruptFileError: a kind that is not known, none or too many, or a field out of its range.
    """
    payload = file.payload(SectionType.REFERENCES)
    if payload is None or not file.header.referring:
        return ()
    cursor = Cursor(payload, WHAT)
    kind, count = cursor.byte(), cursor.byte()
    if kind > MOST_KIND or not 1 <= count <= MAX_REFERENCES:
        expected = f"1..{MAX_REFERENCES} of kind 0..{MOST_KIND}"
        raise CorruptFileError(f"{WHAT} has {count} references of kind {kind}, expected {expected}")
    if kind & TRUST:
        cursor.take(TRUST_BYTES)
    references = tuple(_read_reference(cursor) for _ in range(count))
    if cursor.rest():
        raise CorruptFileError(f"{WHAT} has bytes after its last reference")
    for reference in references:
        reference.alignment.homography(file.header.width, file.header.height)
    return references


def safe_name(name: str) -> bool:
    """Whether a name is one of a file in a folder, and no way out of it."""
    return name not in (".", "..") and name.isprintable() and not set(name) & set('/\\:*?"<>|')


def _write_reference(reference: Reference) -> bytes:
    light = reference.alignment.light
    form = (FILE if reference.name is not None else ENTRY) << 1 | (LIT if light != UNLIT else 0)
    if reference.name is None:
        where = write_varint(reference.index)
    else:
        name = reference.name.encode()
        where = bytes([len(name)]) + name
    first, *others = reference.alignment.corners
    moved = [*first, *(value - start for corner in others for value, start in zip(corner, first, strict=True))]
    lit = [value for gain, offset in light for value in (gain - GAIN, offset)] if form & LIT else []
    return bytes([form]) + reference.id + where + b"".join(write_varint(_folded(value)) for value in (*moved, *lit))


def _read_reference(cursor: Cursor) -> Reference:
    form = cursor.byte()
    if form >> 1 not in (FILE, ENTRY):
        raise CorruptFileError(f"{WHAT} has a reference of form {form}, expected 0..3")
    id_, name, index = cursor.take(ID_BYTES), None, 0
    if form >> 1 == FILE:
        name = _read_name(cursor.take(cursor.byte()))
    else:
        index = cursor.varint()
    values = [_unfolded(cursor.varint()) for _ in range(8)]
    start = values[0], values[1]
    corners = (start, *((start[0] + x, start[1] + y) for x, y in zip(values[2::2], values[3::2], strict=True)))
    if max(abs(value) for corner in corners for value in corner) > FARTHEST:
        raise CorruptFileError(f"{WHAT} moves a corner by more than {FARTHEST // 16} pixels")
    light: tuple[tuple[int, int], ...] = UNLIT
    if form & LIT:
        light = tuple((GAIN + _unfolded(cursor.varint()), _unfolded(cursor.varint())) for _ in range(3))
        if light == UNLIT or not all(gain in GAINS and offset in OFFSETS for gain, offset in light):
            raise CorruptFileError(f"{WHAT} has a brightness {light} out of its range")
    return Reference(id_, name, index, Alignment(corners, light))


def _read_name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise CorruptFileError(f"{WHAT} names a file that is no UTF-8") from None
    if not safe_name(name):
        raise CorruptFileError(f"{WHAT} names a file {name!r}, expected a name without folders")
    return name


def _folded(value: int) -> int:
    """A signed number as an unsigned one: 0, -1, 1, -2, 2 .. are 0, 1, 2, 3, 4 .."""
    return value << 1 if value >= 0 else ~(value << 1)


def _unfolded(value: int) -> int:
    return ~(value >> 1) if value & 1 else value >> 1
