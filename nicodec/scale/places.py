"""Files by path or URL: on a disk, in an object store, in memory; all of it through fsspec."""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from collections.abc import Set
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from nicodec.errors import FULL, InputError, MissingPackageError, OutputError, UsageError, brief

# Stores in which no object is seen before all of it is there.
WHOLE = {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
TEMPORARY = ".nicodec."


class FullError(OutputError):
    """The target takes no more, of anything."""


def locate(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there.

    Raises:
        UsageError: no such protocol.
        MissingPackageError: it takes a package.
    """
    try:
        return url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(f"{url}: {error}") from None
    except ValueError as error:
        raise UsageError(f"{url} is no path or URL that fsspec knows: {error}") from None


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file, or those from `start` to `end`.

    Raises:
        InputError: missing or unreadable.
        UsageError, MissingPackageError: see `locate`.
    """
    fs, path = locate(url)
    try:
        data: bytes = fs.cat_file(path, start=start, end=end)
    except MemoryError:
        raise
    except Exception as error:  # every store has errors of its own
        raise InputError(f"cannot read {url}: {reason(error)}") from None
    if start is not None and end is not None and len(data) < end - start:
        raise InputError(f"cannot read {url}: it ends at {start + len(data)}, expected {end} bytes and more")
    return data


def reason(error: Exception) -> str:
    """Why a file system refused, in a few words."""
    return getattr(error, "strerror", None) or brief(error)


class Folder:
    """A folder by path or URL; files in it are named by their paths from there, with `/`.

    Attributes:
        url: the same wherever the process runs: a path is absolute.

    Raises:
        UsageError, MissingPackageError: see `locate`.
    """

    def __init__(self, url: str) -> None:
        self.fs, path = locate(url)
        self.path = path.rstrip("/")
        self.url = self.path if isinstance(self.fs, LocalFileSystem) else url.rstrip("/")

    def url_of(self, name: str) -> str:
        """What a file's URL is."""
        return f"{self.url}/{name}"

    def names(self, suffixes: Set[str]) -> tuple[list[str], list[str]]:
        """Files that end so (lower case), in order; and why what could not be looked into was not, a line each.

        Links to folders are not followed.

        Raises:
            InputError: there is no such folder, or it cannot be looked into.
        """
        found, unread = [], []

        def note(path: str, error: Exception) -> None:
            unread.append(f"cannot look into {path}: {reason(error)}")

        try:
            self.fs.ls(self.path, detail=False)
            for path, folders, files in self.fs.walk(self.path, detail=True, on_error=note):
                for name in [name for name, info in folders.items() if info.get("islink")]:
                    del folders[name]
                found += [
                    posixpath.join(path, name) for name in files if posixpath.splitext(name)[1].lower() in suffixes
                ]
        except Exception as error:
            raise InputError(f"cannot look into {self.url}: {reason(error)}") from None
        return sorted(path[len(self.path) :].lstrip("/") for path in found), unread

    def is_empty(self) -> bool:
        """Whether nothing is there. Raises: InputError."""
        try:
            return not self.fs.ls(self.path, detail=False)
        except FileNotFoundError:
            return True
        except Exception as error:
            raise InputError(f"cannot look into {self.url}: {reason(error)}") from None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.exists(f"{self.path}/{name}"))

    def read(self, name: str) -> bytes:
        """See `read`."""
        return read(self.url_of(name))

    def write(self, name: str, data: bytes | Path) -> None:
        """Write a file, whole or not at all, over what is there; `data`: what is in it, or a file on the disk.

        Raises:
            FullError: nothing more can be written.
            OutputError: this cannot.
        """
        path = f"{self.path}/{name}"
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else {*self.fs.protocol}
        renamed = not WHOLE & protocols
        written = f"{posixpath.dirname(path)}/{TEMPORARY}{uuid.uuid4().hex}" if renamed else path
        try:
            if renamed:
                self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
            if isinstance(data, Path):
                self.fs.put_file(str(data), written)
            else:
                self.fs.pipe_file(written, data)
            if isinstance(self.fs, LocalFileSystem):  # whose `mv` would move it into a folder of that name
                Path(written).replace(path)
            elif renamed:
                self.fs.mv(written, path)
        except BaseException as error:  # SIGTERM's SystemExit is no Exception
            with contextlib.suppress(Exception):
                if renamed:
                    self.fs.rm_file(written)
            if not isinstance(error, Exception):
                raise
            kind = FullError if getattr(error, "errno", None) in FULL else OutputError
            raise kind(f"cannot write {self.url_of(name)}: {reason(error)}") from None
