"""Every way to be wrong, a class each, and each class with its exit code (CLI.md, "Exit codes")."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

BRIEF = 200  # characters
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a disk says that takes no more


class NicodecError(Exception):
    """Base of all errors that a user can cause or meet. The message is one line: found, expected, what to do.

    Those about a picture or a file, and what it takes to decode it, are OSErrors too, and UsageError is a ValueError:
    what callers of Pillow, and of Python, catch.
    """

    exit_code: ClassVar[int] = 1
    input: str | None = None  # the file that it is about, where whoever reads files knows it


class UsageError(NicodecError, ValueError):
    """The call itself is off: an option out of range, options that exclude one another, no place to write to."""

    exit_code = 2


class InputError(NicodecError, OSError):
    """The input cannot be read: missing, a folder, empty, not a picture, or a truncated picture."""

    exit_code = 3


class UnsupportedPictureError(NicodecError, OSError):
    """A whole picture that would lose something, such as more than 8 bits a sample."""

    exit_code = 4


class NotNicodecError(NicodecError, OSError):
    """The bytes are not a .nic file (wrong magic)."""

    exit_code = 5


class UnsupportedVersionError(NicodecError, OSError):
    """A .nic file of another version, or with a critical section that this version does not know."""

    exit_code = 6


class CorruptFileError(NicodecError, OSError):
    """A .nic file whose bytes were damaged or cut: a CRC, a length or the entropy stream does not hold."""

    exit_code = 7


class LimitError(NicodecError, OSError):
    """A .nic file that asks for more than the limits allow (nothing was allocated), or a picture that would."""

    exit_code = 8


class MissingPartError(NicodecError, OSError):
    """A part of a model that the file or the call names is not installed."""

    exit_code = 9


class DamagedPartError(NicodecError, OSError):
    """A part of a model is not what its id says, or what is missing may be in a package that cannot be read."""

    exit_code = 10


class InexactError(NicodecError, OSError):
    """The symbols' CRC does not hold although file and model are whole: this machine's arithmetic is at fault."""

    exit_code = 11


class OutputExistsError(NicodecError):
    """The output is there already (`-f` overwrites it); nothing was written."""

    exit_code = 12


class OutputError(NicodecError, OSError):
    """The output cannot be written: no such folder, read-only, disk full, unknown format."""

    exit_code = 13


class TrainingDataError(NicodecError):
    """There are no usable training pictures."""

    exit_code = 14


class TrainingRunError(NicodecError):
    """The run folder does not fit the call."""

    exit_code = 15


class ExportError(NicodecError):
    """A trained network does not fit the integer format (FORMAT.md, "Scale path")."""

    exit_code = 16


class PartialPictureError(NicodecError):
    """The picture of a damaged file was written (`--best-effort`), but parts of it are missing."""

    exit_code = 18


class MissingStreamError(NicodecError, OSError):
    """The file has no tokens to anchor perception on (drawn blocks apart), or no latents for tau."""

    exit_code = 17


class BatchError(NicodecError):
    """Some of several files failed, each with its own error; all others are done."""

    exit_code = 19


class TargetError(NicodecError):
    """No quality reaches the size, PSNR or LPIPS that was asked for."""

    exit_code = 20


class OutOfMemoryError(NicodecError):
    """The machine, or a limit set on the process, did not give the memory that the work takes."""

    exit_code = 21


class ConformanceError(NicodecError):
    """A golden file decodes to something else on this machine (`nicodec conformance`)."""

    exit_code = 22


class MissingPackageError(NicodecError):
    """A Python package that this takes is not installed: what runs the networks, or another codec."""

    exit_code = 23


class MissingReferenceError(NicodecError, OSError):
    """A picture that the file refers to is not there, or another one is in its place."""

    exit_code = 24


class WorkerDiedError(NicodecError):
    """The process that worked on a picture died of it, twice: too little memory, or a crash in a library."""

    exit_code = 25


class ClusterError(NicodecError):
    """There is no Ray cluster at that address, or it has no room for a worker."""

    exit_code = 26


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, onnxruntime or torch (RuntimeErrors) says that there is no more memory."""
    text = str(error)
    by_onednn = "could not create a primitive" in text
    said = ("memory" in text and "alloc" in text) or "bad_alloc" in text or by_onednn
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and said)


def brief(error: BaseException) -> str:
    """What a library raised, in one short line: torch lists every weight that does not fit."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 2]} .."


@contextmanager
def about(source: str) -> Iterator[None]:
    """What goes wrong in here is about this input."""
    try:
        yield
    except UsageError:
        raise
    except NicodecError as error:
        error.input = error.input or source
        raise
