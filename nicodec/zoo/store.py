"""Where model packages are looked for, and how a file finds its parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nicodec.errors import DamagedPartError, MissingPartError
from nicodec.zoo.manifest import Package, Part, read_manifest
from nicodec.zoo.once import once

ENVIRONMENT = "NICODEC_MODELS"


def search_path() -> list[Path]:
    """Folders that may hold packages: those named in NICODEC_MODELS, then the installed ones, or else a checkout's."""
    named = [Path(entry) for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry]
    inside = Path(__file__).resolve().parents[1]
    own = inside / "models"
    if not own.is_dir() and (inside.parent / "pyproject.toml").is_file():
        own = inside.parent / "models"  # elsewhere this would be what some other package left in site-packages
    return [*named, own]


def packages(broken: list[str] | None = None) -> list[Package]:
    """All packages that can be read, in the order of the search path; of two with one name, the first.

    Args:
        broken: where to note what cannot be read.
    """
    found: dict[str, Package] = {}
    for package in all_packages(broken):
        found.setdefault(package.name, package)
    return list(found.values())


def all_packages(broken: list[str] | None = None) -> list[Package]:
    """As `packages`, and those whose name others have too."""
    return list(_read_all(broken))


def _read_all(broken: list[str] | None) -> Iterator[Package]:
    for folder in search_path():
        for manifest in sorted(folder.glob("*/model.toml")):
            try:
                yield read_manifest(manifest)
            except DamagedPartError as error:
                if broken is not None:
                    broken.append(str(error))


def find_package(name: str) -> Package:
    """The package of a name.

    Raises:
        MissingPartError, DamagedPartError: as `missing`; says which packages there are.
    """
    available = packages()
    for package in available:
        if package.name == name:
            return package
    names = ", ".join(package.name for package in available) or "none"
    raise missing(f"no model named {name!r}; found: {names}")


def find_part(kind: str, wanted: bytes, among: Sequence[Package] | None = None) -> Part:
    """The part with an id; of several copies, one that is whole.

    Args:
        among: None: all packages.

    Raises:
        DamagedPartError: no copy is.
        MissingPartError, DamagedPartError: as `missing`.
    """
    damage = None
    for package in all_packages() if among is None else among:
        part = package.parts.get(kind)
        if part is None or part.id != wanted:
            continue
        try:
            read_part(part)
        except DamagedPartError as error:
            damage = damage or error
            continue
        return part
    raise damage or missing(f"the {kind} {wanted.hex()} that the file names is not installed")


def missing(what: str) -> MissingPartError | DamagedPartError:
    """The error for what no package has: says where it was looked for; and which broken packages may have it.

    With such packages it is a DamagedPartError.
    """
    broken: list[str] = []
    packages(broken)
    said = f"{what}; looked in {', '.join(map(str, search_path()))}"
    return DamagedPartError(f"{said}; {'; '.join(broken)}") if broken else MissingPartError(said)


def find_trained(kind: str, on: set[bytes], among: Sequence[Package]) -> Part | None:
    """A part that was trained on just these parts; None where no package has one."""
    return next(all_trained(kind, on, among), None)


def all_trained(kind: str, on: set[bytes], among: Sequence[Package]) -> Iterator[Part]:
    """All of them, copies too."""
    parts = (package.parts.get(kind) for package in among)
    return (part for part in parts if part is not None and part.trained_on == on)


@once
def read_part(part: Part) -> bytes:
    """A part's checked content, read once a process."""
    return part.read()
