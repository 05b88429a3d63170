"""Many files in one call: which, and where to."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

import click

from nicodec.cli import streams
from nicodec.errors import InputError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Job:
    """One file to read, and the files to write of it, whose names are as they will be: nothing is filled in later."""

    source: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Inputs:
    """What the options about inputs and outputs say."""

    names: tuple[str, ...]
    output: str | None
    recursive: bool = False
    files_from: str | None = None
    skip_existing: bool = False
    keep_suffix: bool = False
    jobs: int = 1
    suffixes: frozenset[str] = field(default_factory=frozenset)  # of the files that are taken from folders

    @property
    def many(self) -> bool:
        """Whether outputs go to a folder, with names of their own."""
        return (
            len(self.names) > 1 or self.recursive or self.files_from is not None
            or any(_is_pattern(name) or streams.is_folder(name) for name in self.names)
            or (self.output is not None and (self.output.endswith(os.sep) or streams.is_folder(self.output)))
        )  # fmt: skip

    def plan(self, outputs: Callable[[str, Path], tuple[str, ...]]) -> list[Job]:
        """All jobs, in order.

        Args:
            outputs: the files to write of an input, of the folder `output` and the input's place in its tree.

        Raises:
            UsageError: no folder is named, or two inputs would become one output.
            InputError: a folder without `recursive`, or nothing was found at all.
        """
        if self.output in (None, streams.STANDARD):
            raise UsageError("several inputs need a folder to write to: -o DIR")
        planned: dict[Job, None] = {}  # in order; who is named twice is done once
        sources: dict[str, str] = {}
        for source, place in self._found():
            job = Job(source, outputs(str(self.output), place))
            for output in job.outputs:
                if (other := sources.setdefault(output, source)) != source:
                    way_out = self._way_out(Path(other), Path(source))
                    raise UsageError(f"{other} and {source} would both become {output}; {way_out}")
            planned[job] = None
        if not planned:
            raise InputError(f"no files found in {', '.join(self.names) or self.files_from}")
        return list(planned)

    def _way_out(self, one: Path, other: Path) -> str:
        """What to do about two inputs that would become one output."""
        if one.name == other.name:
            return "take a folder that holds both, with -r, which keeps their tree"
        return "leave --keep-suffix out" if self.keep_suffix else "use --keep-suffix, which keeps them apart"

    def _found(self) -> Iterator[tuple[str, Path]]:
        """Input files and their places in the tree."""
        for name in self.names:
            path = Path(name)
            if streams.is_folder(name):
                if not self.recursive:
                    raise InputError(f"{name} is a folder; use -r to take the files in it")
                inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in self.suffixes and p.is_file())
                yield from ((str(p), p.relative_to(path)) for p in inside)
            elif _is_pattern(name):
                fixed = _fixed_part(name)
                found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
                yield from ((match, Path(match).relative_to(fixed)) for match in found if streams.is_file(match))
            else:
                yield name, Path(path.name)
        for name in self._listed():
            path = Path(name)
            yield name, Path(path.name) if path.is_absolute() or ".." in path.parts else path

    def _listed(self) -> list[str]:
        if self.files_from is None:
            return []
        content = streams.read_input(self.files_from).removeprefix(codecs.BOM_UTF8)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{self.files_from} is a list in UTF-16, expected UTF-8; save it as UTF-8")
        names = os.fsdecode(content)
        if "\0" in names:  # find -print0, for names that hold line ends
            return [name for name in names.split("\0") if name.strip()]
        return [line.removesuffix("\r") for line in names.split("\n") if line.strip()]  # Windows ends lines with \r\n


def input_options(function: F) -> F:
    """Options about many files that `encode` and `decode` share."""
    for option in (
        click.option("--keep-suffix", is_flag=True, help="In a folder of outputs: x.jpg becomes x.jpg.nic, and "
                     "x.jpg.nic becomes x.jpg, a JPEG. Default: x.jpg becomes x.nic."),
        click.option("--skip-existing", is_flag=True, help="Leave outputs that exist as they are, and go on."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
                     help="Files at once, 1..256: processes that share the cores, each with a model of its own."),
        click.option("--files-from", type=click.Path(), metavar="FILE",
                     help="Read names of inputs from FILE (- is stdin), one a line."),
        click.option("-r", "--recursive", is_flag=True,
                     help="Take folders: all below them that have a suffix of what is taken."),
    ):  # fmt: skip
        function = option(function)
    return function


def is_done(job: Job) -> bool:
    """Whether all that it would write is there."""
    return all(streams.is_file(output) for output in job.outputs)


def _is_pattern(name: str) -> bool:
    """Whether a name that is no file means several, for shells that leave patterns as they are."""
    return any(sign in name for sign in "*?[") and not streams.kind_of(name)


def _fixed_part(pattern: str) -> PurePath:
    """The folders of a pattern before the first sign that stands for several: its matches' tree starts there."""
    parts = PurePath(pattern).parts[:-1]
    fixed = next((index for index, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    return PurePath(*parts[:fixed])
