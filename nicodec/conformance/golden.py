"""Golden files: what each must decode to while its format version is read. None is ever deleted or replaced.

But those of version 2, for as long as that is open (FORMAT.md, "Version policy").
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.info import describe
from nicodec.container.payloads import read_jpeg_section
from nicodec.container.reader import read_file
from nicodec.errors import ConformanceError, MissingPartError
from nicodec.image.kept import unpack_blocks, unpack_metadata, unpack_transparency
from nicodec.references.library import ENVIRONMENT as DICTIONARIES
from nicodec.zoo.store import ENVIRONMENT

TOLERANCE = 1  # levels of 255: what a pixel may differ by between machines, since pixels come from floats


@dataclass(frozen=True)
class Golden:
    """A file and what was written down of it.

    Attributes:
        path: of the .nic file; beside it lie `<stem>.json` with the facts, and the pictures they name.
        tiles: how many.
        sha256: in hex, of `symbols` (of all tiles in order, as `TileSymbols.tobytes` gives them) and of what there is
            of `drawn` (mask and sheet), `jpeg`, `alpha`, `icc`, `exif` and `xmp`.
        structure: fields of `describe` that must hold.
        pictures: arguments of `nicodec.decode` by the name of the PNG with what must come of them.
    """

    path: Path
    tiles: int
    sha256: dict[str, str]
    structure: dict[str, Any]
    pictures: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Golden:
        """The golden file at a path, and its facts."""
        return cls(path, **json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def golden_folder() -> Path:
    """Where the golden files and their models lie: in the installed package, or in a checkout's tests.

    Raises:
        MissingPartError: in neither.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package / "golden", package.parent / "tests" / "golden"]
    for place in places:
        if (place / "models").is_dir():
            return place
    raise MissingPartError(f"no golden files in {places[0]} or {places[1]}: reinstall nicodec")


def golden_files() -> list[Path]:
    """All golden files, by name."""
    return sorted(golden_folder().glob("*.nic"))


def use_golden_models() -> None:
    """Let this process, and those that it starts, find the golden files' models and dictionaries."""
    for name, folder in ((ENVIRONMENT, golden_folder() / "models"), (DICTIONARIES, golden_folder())):
        others = os.environ.get(name)
        os.environ[name] = os.pathsep.join([str(folder), *([others] if others else [])])


def symbols_of(path: Path) -> list[bytes]:
    """The symbols of each tile of a file, in order. Raises: as `decode_symbols`."""
    return [held.tobytes() for held in OwnDecoder(read_file(path.read_bytes())).symbols().values()]


def digests(path: Path, symbols: list[bytes]) -> dict[str, str]:
    """`Golden.sha256` of a file that has these symbols. Raises: as `verify_bytes`."""
    file = read_file(path.read_bytes())
    exact = {"symbols": b"".join(symbols), **unpack_metadata(file)}
    if (drawn := unpack_blocks(file)) is not None:
        exact["drawn"] = drawn.mask.tobytes() + drawn.sheet.tobytes()
    if (jpeg := read_jpeg_section(file)) is not None:
        exact["jpeg"] = jpeg
    if (alpha := unpack_transparency(file)) is not None:
        exact["alpha"] = alpha.tobytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in exact.items()}


def check_exact(golden: Golden) -> None:
    """Structure, symbols, alpha and metadata: integers only, no network runs.

    Raises:
        ConformanceError: they are others.
        As `verify_bytes`.
    """
    found = describe(read_file(golden.path.read_bytes()))
    for name, value in golden.structure.items():
        _same(f"the field {name}", found[name], value)
    symbols = symbols_of(golden.path)
    _same("the number of tiles", len(symbols), golden.tiles)
    _same("the content", digests(golden.path, symbols), golden.sha256)


def check_pixels(golden: Golden) -> int:
    """Decode every picture that is written down of a file, on the CPU.

    Returns:
        The largest difference of a sample, in levels of 255; at most TOLERANCE.

    Raises:
        ConformanceError: a picture of another size or mode, or one that differs by more.
        As `nicodec.decode`.
    """
    largest = 0
    for name, arguments in golden.pictures.items():
        image = nicodec.decode(golden.path, device="cpu", **arguments)
        reference = Image.open(golden.path.parent / name)
        _same(f"mode and size of {name}", (image.mode, image.size), (reference.mode, reference.size))
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(reference).astype(int)).max()
        largest = max(largest, int(difference))
        if difference > TOLERANCE:
            raise ConformanceError(f"{name} differs by {difference} levels, expected at most {TOLERANCE}")
    return largest


def check(path: Path) -> str:
    """Check all of a golden file; says what holds. Raises: as `check_exact` and `check_pixels`."""
    golden = Golden.read(path)
    check_exact(golden)
    return f"the same symbols; pixels within {check_pixels(golden)} of 255"


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ConformanceError(f"{what} is {found!r}, expected {expected!r}")
