"""The plan: what is below a folder, in a manifest or in tars, as shards: units of work, of retry and of the ledger."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from itertools import chain, count, islice
from typing import Any

from nicodec.errors import InputError
from nicodec.scale.places import Folder, locate, reason

COLUMNS = ("url", "path")  # of a manifest, the first that it has
MANIFESTS = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Source:
    """A file to read: all of one, or a part of a tar.

    Attributes:
        place: its path in the tree of outputs, without folders above.
    """

    url: str
    place: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Shard:
    """Some files, in order; or the members of a tar, which whoever works on it lists."""

    name: str
    sources: tuple[Source, ...] = ()
    tar: str | None = None


@dataclass
class Plan:
    """Shards, made while they are asked for.

    Attributes:
        pictures: how many files there are; None where that is not known before they are read.
        refused: of what could not be listed, why, a line each; grows while shards are asked for.
    """

    shards: Iterator[Shard]
    pictures: int | None = None
    refused: list[str] = field(default_factory=list)


def plan(source: str, suffixes: Set[str], size: int, column: str | None = None) -> Plan:
    """The shards of a folder, of a manifest (.jsonl, .parquet) or of tars (a pattern, or one .tar).

    Args:
        suffixes: of the files that are taken from a folder, lower case.
        size: files in a shard.
        column: of a manifest, with the paths or URLs.

    Raises:
        InputError: it cannot be read, has no such column, or nothing is there.
        UsageError, MissingPackageError: see `places.locate`.
    """
    suffix = posixpath.splitext(source)[1].lower()
    if suffix in MANIFESTS:
        base = Folder(posixpath.dirname(source) or ".")
        rows = _lines(source, column) if suffix == ".jsonl" else _rows(source, column)
        refused: list[str] = []
        shards = _cut(_resolved(rows, base, refused), size)
        first = next(shards, None)  # what does not fit is said before anything is done
        if first is None and not refused:
            raise InputError(f"{source} names no files")
        return Plan(chain(() if first is None else (first,), shards), refused=refused)
    if suffix == ".tar" or any(sign in source for sign in "*?["):
        return _tars(source)
    folder = Folder(source)
    names, unread = folder.names(suffixes)
    if not names and not unread:
        raise InputError(
            f"no files that end in {' '.join(sorted(suffixes))} in {source}; tars need a pattern: {source}/*.tar"
        )
    return Plan(_cut((Source(folder.url_of(name), name) for name in names), size), len(names), unread)


def _cut(sources: Iterator[Source], size: int) -> Iterator[Shard]:
    for index in count():
        some = tuple(islice(sources, size))
        if not some:
            return
        yield Shard(f"{index:06d}", some)


def _tars(pattern: str) -> Plan:
    fs, path = locate(pattern)
    try:
        found = sorted(fs.glob(path))
    except Exception as error:
        raise InputError(f"cannot look for {pattern}: {reason(error)}") from None
    if not found:
        raise InputError(f"there is no {pattern}")
    above = posixpath.commonpath([posixpath.dirname(path) for path in found])
    names = (posixpath.splitext(path[len(above) :].lstrip("/"))[0] for path in found)
    return Plan(Shard(name, tar=fs.unstrip_protocol(path)) for name, path in zip(names, found, strict=True))


def _resolved(rows: Iterator[tuple[str, Any]], base: Folder, refused: list[str]) -> Iterator[Source]:
    """Files by what a manifest says: a URL, a path, or a path from the manifest's folder on."""
    for where, value in rows:
        if not isinstance(value, str) or not value:
            refused.append(f"{where} names no file: {value!r}")
            continue
        elsewhere = "://" in value or value.startswith("/")
        place = posixpath.normpath(value.partition("://")[2].lstrip("/") if "://" in value else value.lstrip("/"))
        if place.split("/")[0] in ("..", "."):
            refused.append(f"{where} leads out of the manifest's folder: {value}")
            continue
        yield Source(value if elsewhere else base.url_of(place), place)


def _lines(manifest: str, column: str | None) -> Iterator[tuple[str, Any]]:
    """What the lines of a .jsonl file name; None of a line that is no object with that column."""
    names = COLUMNS if column is None else (column,)
    for number, line in enumerate(_lines_of(manifest), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        fields = row if isinstance(row, dict) else {}
        name = next((name for name in names if name in fields), None)
        if name is None and number == 1:
            raise InputError(f"{manifest} does not fit: its first line is no JSON object with {' or '.join(names)}")
        yield f"{manifest}, line {number},", None if name is None else fields[name]


def _lines_of(manifest: str) -> Iterator[bytes]:
    fs, path = locate(manifest)
    try:
        with fs.open(path, "rb") as file:
            yield from file
    except Exception as error:
        raise InputError(f"cannot read {manifest}: {reason(error)}") from None


def _rows(manifest: str, column: str | None) -> Iterator[tuple[str, Any]]:
    """What the rows of a .parquet file name."""
    import pyarrow
    from pyarrow import parquet

    names = COLUMNS if column is None else (column,)
    fs, path = locate(manifest)
    try:
        with fs.open(path, "rb") as file:
            table = parquet.ParquetFile(file)
            name = next((name for name in names if name in table.schema_arrow.names), None)
            kind = None if name is None else table.schema_arrow.field(name).type
            if kind not in (pyarrow.string(), pyarrow.large_string()):
                has = ", ".join(f"{field.name} ({field.type})" for field in table.schema_arrow)
                raise InputError(f"{manifest} does not fit: it has {has}; expected {' or '.join(names)} (string)")
            number = count(1)
            for batch in table.iter_batches(columns=[name]):
                yield from ((f"{manifest}, row {next(number)},", value) for value in batch.column(0).to_pylist())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"cannot read {manifest}: {reason(error)}") from None
