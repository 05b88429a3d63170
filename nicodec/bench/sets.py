"""Named sets of pictures. A manifest lists the files of each by SHA-256, as `sha256sum` writes it; the user has them.

`kodak` are the 24 PNGs of the Kodak Lossless True Color Image Suite, `validation` the 193 AVIFs of 576x576 that no
weights were trained on and every choice was made on. `kinds` are 21 PNGs of what is no daylight photograph, seven
kinds of it, found under open licences or drawn: tests/lab/kinds.py makes them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicodec.errors import InputError

MANIFESTS = {path.stem: path for path in sorted((Path(__file__).parent / "manifests").glob("*.sha256"))}


@dataclass(frozen=True)
class PictureSet:
    """What a folder has of a named set.

    Attributes:
        listed: how many pictures the set has.
        paths: of those that are there as listed, in the manifest's order.
        missing, other: names of those that are not there, and of those whose content is not the listed one.
    """

    name: str
    listed: int
    paths: list[Path]
    missing: list[str]
    other: list[str]

    def faults(self) -> list[str]:
        """A line for each way in which the folder is not the set."""
        found = (("missing", self.missing), ("other than listed", self.other))
        return [f"{self.name}: {len(names)} {how}: {', '.join(names)}" for how, names in found if names]

    def as_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"name": self.name, "listed": self.listed, "missing": self.missing, "other": self.other}


def read_manifest(name: str) -> dict[str, str]:
    """File names of a set, and the SHA-256 of each in hexadecimal."""
    lines = MANIFESTS[name].read_text(encoding="utf-8").splitlines()
    return {file: digest for digest, file in (line.split("  ", 1) for line in lines)}


def find_set(name: str, folder: Path) -> PictureSet:
    """Look a set's pictures up in a folder. Files that the set does not list are left out.

    Raises:
        InputError: it is no folder, or has no picture of the set.
    """
    manifest = read_manifest(name)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the one that holds the {len(manifest)} pictures of {name}")
    there = {file: folder / file for file in manifest if (folder / file).is_file()}
    same = {file for file, path in there.items() if _digest(path) == manifest[file]}
    found = PictureSet(
        name,
        len(manifest),
        [path for file, path in there.items() if file in same],
        [file for file in manifest if file not in there],
        [file for file in there if file not in same],
    )
    if not found.paths:
        raise InputError(f"{folder}: no picture of {name} as listed; {len(found.other)} of them have other content")
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
