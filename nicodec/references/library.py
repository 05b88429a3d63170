"""Where the pictures are that a file refers to: those that are named, those beside it, entries of dictionaries."""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.container.dictionary import Dictionary, read_dictionary
from nicodec.container.layout import ID_BYTES, MAGIC
from nicodec.container.limits import DEFAULT_MAX_PIXELS, check_declared
from nicodec.container.reader import NicFile, read_file
from nicodec.container.references import MAX_NAME, Reference, read_aligned, safe_name
from nicodec.errors import (
    CorruptFileError,
    InputError,
    LimitError,
    MissingReferenceError,
    NicodecError,
    UnsupportedPictureError,
    UsageError,
)
from nicodec.image.given import bytes_of

if TYPE_CHECKING:
    from nicodec.image.given import AnyFile
    from nicodec.image.picture import Pixels

ENVIRONMENT = "NICODEC_DICTIONARIES"
SUFFIX = ".nicdict"
MAX_CHAIN = 8  # files that refer to one another in a row, more than which no reader follows
LARGEST = 1 << 28  # bytes of a file beside the one that names it


@dataclass(frozen=True, eq=False)
class Held:
    """A picture that may be referred to.

    Attributes:
        data: a .nic file, or a picture file.
        name: without folders; None: it is an entry of a dictionary.
        id: of the file, or of the dictionary.
        index: in that.
        folder: where it lies, and where what it refers to may lie.
    """

    data: bytes = field(repr=False)
    name: str | None
    id: bytes
    index: int = 0
    folder: Path | None = None

    @classmethod
    def of(cls, data: bytes, name: str = "", folder: Path | None = None) -> Held:
        """A file; a name that no file can have everywhere is left out."""
        fits = safe_name(name) and len(os.fsencode(name)) <= MAX_NAME
        return cls(data, name if fits else "", content_id(data), folder=folder)

    @classmethod
    def given(cls, file: AnyFile) -> Held:
        """A file by its bytes, its path or a file object. Raises: as `bytes_of`."""
        if isinstance(file, (str, os.PathLike)):
            return cls.of(bytes_of(file), Path(file).name, Path(file).parent)
        return cls.of(bytes_of(file))


def references_of(given: str | int | Sequence[AnyFile]) -> str | int | tuple[Held, ...]:
    """What `EncodeOptions.references` takes of what `nicodec.encode` is given. Raises: UsageError; as `bytes_of`."""
    if isinstance(given, (str, int)):
        return given
    if not isinstance(given, Sequence) or isinstance(given, bytes):
        raise UsageError(f"references are {reprlib.repr(given)}, expected auto, off, a number or a list of files")
    return tuple(map(Held.given, given))


def content_id(data: bytes) -> bytes:
    """What a file is named by: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(data).digest()[:ID_BYTES]


@contextmanager
def _about(what: str, *kinds: type[NicodecError]) -> Iterator[None]:
    """What is wrong with a file in here, in one of these ways, is wrong with `what`."""
    try:
        yield
    except kinds as error:
        raise type(error)(f"{what}: {error}") from None


def dictionaries(named: Sequence[Path], *, everywhere: bool = True) -> Iterator[tuple[bytes, Dictionary]]:
    """Dictionaries with their ids: those that are named, then those in NICODEC_DICTIONARIES, files and folders.

    Args:
        everywhere: False: only those that are named.

    Raises:
        InputError: a named one cannot be read.
        NotNicodecError, UnsupportedVersionError, CorruptFileError, LimitError: as `read_dictionary`, with its name.
    """
    for path in named:
        data = bytes_of(path)
        with _about(str(path), NicodecError):
            found = read_dictionary(data)
        yield content_id(data), found
    for entry in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep) if everywhere else ()):
        place = Path(entry)
        for path in sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]:
            try:
                data = bytes_of(path)
                yield content_id(data), read_dictionary(data)
            except NicodecError:  # nobody asked for this one
                continue


Decode = Callable[[bytes, "Library"], "Pixels"]
UNUSABLE = (InputError, UnsupportedPictureError, CorruptFileError)  # what a reference that is there can be


class Library:
    """Finds and decodes what files refer to, each picture once.

    Args:
        decode: a .nic file's picture by the fidelity anchor and tau 0, or a picture file's.
        given: pictures to look among first.
        beside: folders to look in then, by name; those of the given pictures come first.
        named: dictionaries to look in.
        max_pixels: as in `DecodeOptions`, for all pictures together.

    Attributes:
        declared: pixels of all .nic files that were found, once they have been checked.
    """

    def __init__(
        self, decode: Decode, given: Sequence[Held] = (),
        beside: Sequence[Path] = (), named: Sequence[Path] = (), max_pixels: int | None = None,
    ) -> None:  # fmt: skip
        self.decode, self.given, self.named, self.max_pixels = decode, given, named, max_pixels
        self.beside = list(dict.fromkeys([*(held.folder for held in given if held.folder is not None), *beside]))
        self._found: dict[tuple[bytes, int], Held] = {}
        self._checked: dict[tuple[bytes, int], int] = {}
        self._pixels: dict[tuple[bytes, int], Pixels] = {}
        self._dictionaries: dict[bytes, Dictionary | None] = {}
        self.declared = 0

    def check(self, file: NicFile, chain: int = 0) -> None:
        """Find all that a file needs, and what that needs, before any of it is decoded.

        Raises:
            MissingReferenceError: a picture is not there, says its name and id.
            LimitError: more files in a row, or more pixels, than a reader takes.
            CorruptFileError: one of them is damaged.
        """
        for reference in read_aligned(file):
            if chain == MAX_CHAIN:
                raise LimitError(f"more than {MAX_CHAIN} files refer to one another in a row")
            held, key = self.find(reference), (reference.id, reference.index)
            if held.data.startswith(MAGIC) and self._checked.get(key, -1) < chain:
                other = read_file(held.data)
                if key not in self._checked:
                    self._count(other)
                self._checked[key] = chain
                self.check(other, chain + 1)

    def find(self, reference: Reference) -> Held:
        """The picture that is named. Raises: as `check`."""
        key = reference.id, reference.index
        if key not in self._found:
            self._found[key] = self._entry(reference) if reference.name is None else self._file(reference)
        return self._found[key]

    def pixels(self, reference: Reference) -> Pixels:
        """Its pixels (H, W, 1 or 3). Raises: as `check`, and as decoding it does."""
        key = reference.id, reference.index
        if key not in self._pixels:
            data = self.find(reference).data
            with _about(f"reference {reference}", *UNUSABLE):
                self._pixels[key] = self.decode(data, self)
        return self._pixels[key]

    def pixels_of(self, held: Held) -> Pixels:
        """Those of a picture that is there. Raises: as `check`, and as decoding it does."""
        reference = self._known(held)
        if held.data.startswith(MAGIC):
            with _about(f"reference {reference}", *UNUSABLE):
                file = read_file(held.data)
            self.check(file, 1)
        return self.pixels(reference)

    def picture(self, data: bytes) -> Pixels:
        """Those of a file that refers to pictures that are there. Raises: as `check`, and as decoding it does."""
        return self.decode(data, self)

    def _known(self, held: Held) -> Reference:
        self._found[held.id, held.index] = held
        return Reference(held.id, held.name, held.index)

    def _count(self, file: NicFile) -> None:
        check_declared(file, self.max_pixels)
        self.declared += file.header.width * file.header.height
        most = DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels
        if self.declared > most:
            raise LimitError(f"the references declare more than {most} pixels; if that is meant, allow --max-pixels")

    def _file(self, reference: Reference) -> Held:
        for held in self.given:
            if held.name is not None and held.id == reference.id:
                return held
        other = ""
        for path in (folder / reference.name for folder in self.beside if reference.name):
            try:
                if path.is_file() and path.stat().st_size <= LARGEST:
                    data = path.read_bytes()
                    if content_id(data) == reference.id:
                        return Held(data, reference.name, reference.id, folder=path.parent)
                    other = f"; {path} is another file ({content_id(data).hex()})"
            except OSError as error:
                other = f"; {path} cannot be read: {error.strerror}"
        raise MissingReferenceError(
            f"the file refers to {reference}, which is neither given nor beside it{other}; name it with --reference"
        )

    def _entry(self, reference: Reference) -> Held:
        if reference.id not in self._dictionaries:
            same = (dictionary for id_, dictionary in dictionaries(self.named) if id_ == reference.id)
            self._dictionaries[reference.id] = next(same, None)
        dictionary = self._dictionaries[reference.id]
        if dictionary is None or reference.index >= len(dictionary.entries):
            raise MissingReferenceError(
                f"the file refers to {reference}, which is not there; name it with --dictionary, or in {ENVIRONMENT}"
            )
        return Held(dictionary.entries[reference.index].data, None, reference.id, reference.index)
