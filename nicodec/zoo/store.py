"""Where model packages are looked for, and how a file finds its parts."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from nicodec.errors import MissingPartError
from nicodec.zoo.manifest import Package, Part, read_manifest

ENVIRONMENT = "NICODEC_MODELS"


def search_path() -> list[Path]:
    """Folders that may hold packages: those named in NICODEC_MODELS, then the installed ones, then a checkout's."""
    named = [Path(entry) for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry]
    inside = Path(__file__).resolve().parents[1]
    return [*named, inside / "models", inside.parent / "models"]


def packages() -> list[Package]:
    """All packages found, in the order of the search path; of two with one name, the first."""
    found: dict[str, Package] = {}
    for folder in search_path():
        for manifest in sorted(folder.glob("*/model.toml")):
            package = read_manifest(manifest)
            found.setdefault(package.name, package)
    return list(found.values())


def find_package(name: str) -> Package:
    """The package of a name.

    Raises:
        MissingPartError: there is none; says which there are and where it was looked for.
    """
    available = packages()
    for package in available:
        if package.name == name:
            return package
    names = ", ".join(package.name for package in available) or "none"
    raise MissingPartError(f"no model named {name!r}; found: {names}; looked in {_places()}")


def find_part(kind: str, wanted: bytes) -> Part:
    """The part with an id.

    Raises:
        MissingPartError: no package has it; says the id and where it was looked for.
    """
    for package in packages():
        part = package.parts.get(kind)
        if part is not None and part.id == wanted:
            return part
    raise MissingPartError(f"the {kind} {wanted.hex()} that the file names is not installed; looked in {_places()}")


def find_trained(kind: str, on: set[bytes]) -> Part | None:
    """A part that was trained on just these parts; None where no package has one."""
    parts = (package.parts.get(kind) for package in packages())
    return next((part for part in parts if part is not None and part.trained_on == on), None)


@cache
def read_part(part: Part) -> bytes:
    """A part's checked content, read once a process."""
    return part.read()


def _places() -> str:
    return ", ".join(str(folder) for folder in search_path())
