"""Many files in one call: which, where to, in what order; a bad one does not stop the rest."""

from __future__ import annotations

import glob
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import click

from nicodec.cli import streams
from nicodec.errors import BatchError, InputError, NicodecError, OutOfMemoryError, OutputError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write of it."""

    source: str
    output: str


@dataclass(frozen=True)
class Outcome:
    """What a user is told about a finished job."""

    line: str
    fields: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """What the options about inputs and outputs say."""

    names: tuple[str, ...]
    output: str | None
    recursive: bool = False
    files_from: str | None = None
    skip_existing: bool = False
    jobs: int = 1
    suffixes: frozenset[str] = field(default_factory=frozenset)  # of the files that are taken from folders

    @property
    def many(self) -> bool:
        """Whether outputs go to a folder, with names of their own."""
        return (
            len(self.names) > 1 or self.recursive or self.files_from is not None
            or any(_is_pattern(name) or Path(name).is_dir() for name in self.names)
            or (self.output is not None and (self.output.endswith(os.sep) or Path(self.output).is_dir()))
        )  # fmt: skip

    def plan(self, suffix: str) -> list[Job]:
        """All jobs, in order; outputs mirror the tree of the inputs under the folder `output`.

        Raises:
            UsageError: no folder is named, or two inputs would become one output.
            InputError: a folder without `recursive`, or nothing was found at all.
        """
        if self.output in (None, streams.STANDARD):
            raise UsageError("several inputs need a folder to write to: -o DIR")
        planned: dict[str, Job] = {}
        for source, place in self._found():
            output = str(Path(str(self.output)) / place.parent / (place.stem + suffix))
            if output in planned and planned[output].source != source:
                raise UsageError(f"{planned[output].source} and {source} would both become {output}")
            planned[output] = Job(source, output)
        if not planned:
            raise InputError(f"no files found in {', '.join(self.names) or self.files_from}")
        return list(planned.values())

    def _found(self) -> Iterator[tuple[str, Path]]:
        """Input files and their places in the tree."""
        for name in self.names:
            path = Path(name)
            if path.is_dir():
                if not self.recursive:
                    raise InputError(f"{name} is a folder; use -r to take the files in it")
                inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in self.suffixes and p.is_file())
                yield from ((str(p), p.relative_to(path)) for p in inside)
            elif _is_pattern(name):
                yield from ((match, Path(Path(match).name)) for match in sorted(glob.glob(name, recursive=True)))  # noqa: PTH207
            else:
                yield name, Path(path.name)
        for name in self._listed():
            path = Path(name)
            yield name, Path(path.name) if path.is_absolute() or ".." in path.parts else path

    def _listed(self) -> list[str]:
        if self.files_from is None:
            return []
        content = streams.read_input(self.files_from).decode(errors="surrogateescape")
        return [line for line in content.replace("\0", "\n").splitlines() if line.strip()]


def options(function: F) -> F:
    """Options about many files that `encode` and `decode` share."""
    for option in (
        click.option("--skip-existing", is_flag=True, help="Leave outputs that exist as they are, and go on."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
                     help="Files at once, 1..256: processes that share the cores, each with a model of its own."),
        click.option("--files-from", type=click.Path(), metavar="FILE",
                     help="Read names of inputs from FILE (- is stdin), one a line."),
        click.option("-r", "--recursive", is_flag=True, help="Take folders, with all that is in them."),
    ):  # fmt: skip
        function = option(function)
    return function


def run(
    planned: Iterable[Job], work: Callable[[Job], Outcome], inputs: Inputs, threads: int | None, *, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Do all jobs, and report each as it ends.

    Raises:
        BatchError: some of several failed; each was reported.
        OutputError: a folder cannot be made.
    """
    planned = list(planned)
    todo = [job for job in planned if not (inputs.skip_existing and Path(job.output).exists())]
    for folder in {Path(job.output).parent for job in todo}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from None
    started, failed = time.perf_counter(), 0
    bar = _Bar(len(todo))
    for job, result in _results(todo, work, inputs.jobs, threads):
        bar.clear()
        if isinstance(result, NicodecError):
            if len(planned) == 1:
                raise result
            failed += 1
            fields = {"input": job.source, "error": str(result), "exit_code": result.exit_code}
            streams.report(f"nicodec: error: {job.source}: {result}", fields, as_json=as_json, quiet=False)
        else:
            streams.warn(tuple(f"{job.source}: {note}" for note in result.notes), quiet)
            streams.report(result.line, result.fields, as_json=as_json, quiet=quiet)
        bar.step()
    bar.clear()
    line = f"{len(todo) - failed} of {len(planned)} files in {time.perf_counter() - started:.1f} s"
    if skipped := len(planned) - len(todo):
        line += f", {skipped} skipped, for their outputs exist"
    if len(planned) > 1 and not quiet and not as_json:
        click.echo(line, err=True)
    if failed:
        raise BatchError(f"{failed} of {len(planned)} files failed; all others are done")


def _results(
    todo: list[Job], work: Callable[[Job], Outcome], processes: int, threads: int | None
) -> Iterator[tuple[Job, Outcome | NicodecError]]:
    if processes == 1 or len(todo) < 2:
        streams.set_threads(threads)
        for job in todo:
            yield job, _attempt(work, job)
        return
    processes = min(processes, len(todo))
    share = max(1, (threads or os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (share,))
    try:
        futures = {pool.submit(_attempt, work, job): job for job in todo}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], OutOfMemoryError("a worker process died; is there enough memory for this many?")
    except BaseException:  # Ctrl-C: workers end at once, removing what they had half written
        for process in pool._processes.values():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _attempt(work: Callable[[Job], Outcome], job: Job) -> Outcome | NicodecError:
    try:
        return work(job)
    except NicodecError as error:
        return error
    except MemoryError:
        return OutOfMemoryError("out of memory")
    except Exception as error:  # a defect of ours must not stop the rest either
        return NicodecError(f"internal error: {error!r}; please report it")


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    streams.set_threads(threads)


class _Bar:
    """Progress with the time left: on a terminal only."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.perf_counter()
        self.shown = sys.stderr.isatty()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        if self.shown and self.done < self.total:
            left = (time.perf_counter() - self.started) / self.done * (self.total - self.done)
            click.echo(f"{self.done} of {self.total}, about {left:.0f} s left", err=True, nl=False)

    def clear(self) -> None:
        """Take the line away, before another is written."""
        if self.shown:
            click.echo("\r\033[K", err=True, nl=False)


def _is_pattern(name: str) -> bool:
    """Whether a name that is no file means several, for shells that leave patterns as they are."""
    return any(sign in name for sign in "*?[") and not Path(name).exists()
