"""`nicodec conformance`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import click

from nicodec import __version__
from nicodec.errors import ConformanceError, NicodecError

LIBRARIES = ("numpy", "constriction", "onnxruntime", "torch")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    kind: str  # `file` or `setting`
    name: str
    holds: bool
    found: str


@click.command("conformance")
@click.option("--json", "as_json", is_flag=True, help="The table as one line of JSON.")
def command(as_json: bool) -> None:
    """Decode the golden files on this machine, under many settings, and compare.

    Structure and symbols must be the same to the bit under any number of threads and any kernels; pixels may differ by
    one level of 255. Takes about a minute; exit code 22 if anything does not hold. Where torch is not installed, the
    settings of programs that use it are left out.
    """
    machine = {name: _version(name) for name in LIBRARIES} | {
        "nicodec": __version__, "python": platform.python_version(), "machine": platform.machine(),
        "system": platform.system(),
    }  # fmt: skip
    rows = []
    for row in _rows():
        rows.append(row)
        if not as_json:
            click.echo(f"{row.kind:8} {row.name:36} {'holds' if row.holds else 'FAILS':6} {row.found}")
    if as_json:
        click.echo(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))
    else:
        click.echo(", ".join(f"{name} {found}" for name, found in machine.items()))
    if failed := sum(not row.holds for row in rows):
        raise ConformanceError(f"{failed} of {len(rows)} checks fail on this machine; please report the table")


def _rows() -> Iterator[Row]:
    from nicodec.conformance import golden, matrix

    golden.use_golden_models()
    for path in golden.golden_files():
        yield _row("file", path.stem, partial(golden.check, path))
    for name, setting in matrix.MATRIX.items():
        if setting.careless and find_spec("torch") is None:
            continue
        yield _row("setting", name, partial(matrix.check_under, setting))


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _row(kind: str, name: str, check: Callable[[], str]) -> Row:
    try:
        return Row(kind, name, True, check())
    except NicodecError as error:
        return Row(kind, name, False, f"{type(error).__name__}: {error}")
