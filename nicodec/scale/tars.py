"""Tars, as webdataset has them: members that are read where they lie, and one that grows on the disk."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from nicodec.errors import InputError
from nicodec.scale.places import Folder, locate, reason
from nicodec.scale.shards import Source


def members(url: str) -> Iterator[Source]:
    """The files in a tar, in order.

    Raises:
        InputError: it cannot be read, is none or cut; or a name leads out of the tree. What stood before is whole.
    """
    fs, path = locate(url)
    try:
        with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                place = posixpath.normpath(member.name)
                if member.isfile() and (place.startswith("/") or place.split("/")[0] == ".."):
                    raise InputError(f"{url} is no tar for others: its member {member.name} leads out of the folder")
                if member.isfile():
                    yield Source(url, place, member.offset_data, member.offset_data + member.size)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"cannot read the tar {url}: {reason(error)}") from None


class Files:
    """Outputs as files of their own: each is there when it is made.

    Args:
        keep: files on the disk stay, for later ones to refer to.
    """

    def __init__(self, target: Folder, *, keep: bool) -> None:
        self.target, self.keep = target, keep

    def add(self, name: str, made: Path) -> None:
        """Take a file on the disk. Raises: as `Folder.write`."""
        self.target.write(name, made)
        if not self.keep:
            made.unlink()

    def finish(self) -> None:
        """Nothing is left to do."""


class Tar:
    """Outputs as members of a tar, which is there when all are made; it grows on the disk.

    Args:
        name: of the tar in the target.
        scratch: where it grows.
        keep: see `Files`.
    """

    def __init__(self, target: Folder, name: str, scratch: Path, *, keep: bool) -> None:
        self.target, self.name, self.path, self.keep = target, name, scratch, keep
        self.tar = tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, made: Path) -> None:
        """Take a file on the disk."""
        member = tarfile.TarInfo(name)
        member.size = made.stat().st_size
        with made.open("rb") as file:
            self.tar.addfile(member, file)
        if not self.keep:
            made.unlink()

    def finish(self) -> None:
        """Let it appear. Raises: as `Folder.write`."""
        self.tar.close()
        self.target.write(self.name, self.path)
