"""A dictionary of pictures that files refer to (.nicdict): .nic files, each with what it looks like (FORMAT.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from nicodec.container.layout import MAGIC, Cursor, write_varint
from nicodec.container.reader import read_file
from nicodec.errors import CorruptFileError, LimitError, NotNicodecError, UnsupportedVersionError

DICTIONARY_MAGIC = b"\x8eNID"
VERSION = 1
LOOK_BYTES = 576  # of what an entry looks like: the brightness of 24x24 cells
MAX_ENTRIES = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A picture of a dictionary: a .nic file that refers to no other, and what it looks like (LOOK_BYTES)."""

    data: bytes = field(repr=False)
    look: bytes = field(repr=False)


@dataclass(frozen=True)
class Dictionary:
    """A dictionary's entries in order."""

    entries: tuple[Entry, ...]


def write_dictionary(dictionary: Dictionary) -> bytes:
    """A whole .nicdict file."""
    entries = (entry.look + write_varint(len(entry.data)) + entry.data for entry in dictionary.entries)
    body = DICTIONARY_MAGIC + bytes([VERSION]) + write_varint(len(dictionary.entries)) + b"".join(entries)
    return body + zlib.crc32(body).to_bytes(4, "little")


def read_dictionary(data: bytes) -> Dictionary:
    """Parse a whole .nicdict file, and each file in it.

    Raises:
        NotNicodecError: the magic is another.
        UnsupportedVersionError: another version.
        CorruptFileError: damaged, or an entry is none, or refers to others.
        LimitError: it declares too many entries.
    """
    if not data.startswith(DICTIONARY_MAGIC):
        raise NotNicodecError(f"not a dictionary: it starts with {data[:4].hex(' ') or 'nothing'}")
    cursor = Cursor(data[:-4], "the dictionary")
    cursor.take(len(DICTIONARY_MAGIC))
    if (version := cursor.byte()) != VERSION:
        raise UnsupportedVersionError(f"the dictionary has version {version}, this nicodec reads version {VERSION}")
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise CorruptFileError("the dictionary is damaged: its CRC does not hold")
    count = cursor.varint()
    if not 1 <= count <= MAX_ENTRIES:
        raise LimitError(f"the dictionary declares {count} entries, expected 1..{MAX_ENTRIES}")
    entries = []
    for index in range(count):
        look = cursor.take(LOOK_BYTES)
        entry = Entry(cursor.take(cursor.varint()), look)
        if not entry.data.startswith(MAGIC) or read_file(entry.data).header.referring:
            raise CorruptFileError(f"entry {index} of the dictionary is no .nic file that stands alone")
        entries.append(entry)
    if cursor.rest():
        raise CorruptFileError("the dictionary has bytes after its last entry")
    return Dictionary(tuple(entries))
