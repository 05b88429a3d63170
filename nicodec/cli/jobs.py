"""Many files in one call: which, where to, in what order; a bad one does not stop the rest."""

from __future__ import annotations

import codecs
import glob
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar

import click

from nicodec.cli import streams
from nicodec.errors import BatchError, InputError, NicodecError, OutOfMemoryError, OutputError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Job:
    """One file to read, and the files to write of it, whose names are as they will be: nothing is filled in later."""

    source: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a user is told about a finished job."""

    line: str
    fields: dict[str, Any]
    notes: tuple[str, ...] = ()


class Work(Protocol):
    """What is done to each file."""

    def __call__(self, job: Job) -> Outcome:
        """Read, do, write."""


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


def options(function: F) -> F:
    """Options about many files that `encode` and `decode` share."""
    for option in (
        click.option("--keep-suffix", is_flag=True, help="In a folder of outputs: x.jpg becomes x.jpg.nic, and "
                     "x.jpg.nic becomes x.jpg, a JPEG. Default: x.jpg becomes x.nic."),
        click.option("--skip-existing", is_flag=True, help="Leave outputs that exist as they are, and go on."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
                     help="Files at once, 1..256: processes that share the cores, each with a model of its own."),
        click.option("--files-from", type=click.Path(), metavar="FILE",
                     help="Read names of inputs from FILE (- is stdin), one a line."),
        click.option("-r", "--recursive", is_flag=True, help="Take folders, with all that is in them."),
    ):  # fmt: skip
        function = option(function)
    return function


def is_done(job: Job) -> bool:
    """Whether all that it would write is there."""
    return all(streams.is_file(output) for output in job.outputs)


def run_one(
    job: Job, work: Work, inputs: Inputs, threads: int | None, *, as_json: bool, quiet: bool
) -> None:  # fmt: skip
    """Do one job in this process; its error is the call's."""
    if inputs.skip_existing and is_done(job):
        return
    streams.set_threads(threads)
    with streams.about(job.source):
        outcome = work(job)
    _tell(outcome, outcome.notes, as_json=as_json, quiet=quiet)


def run(
    planned: list[Job], work: Work, inputs: Inputs, threads: int | None, *, as_json: bool, quiet: bool,
    is_done: Callable[[Job], bool] = is_done,
) -> None:  # fmt: skip
    """Do all jobs, and report each as it ends. `is_done`: what `skip_existing` leaves as it is.

    Raises:
        BatchError: some of several failed; each was reported.
        OutputError: a folder cannot be made.
    """
    from tqdm import tqdm

    todo = [job for job in planned if not (inputs.skip_existing and is_done(job))]
    for folder in {Path(output).parent for job in todo for output in job.outputs}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from None
    started, failed = time.perf_counter(), 0
    hidden = True if quiet else None  # None: where stderr is no terminal
    with tqdm(total=len(todo), unit="file", leave=False, disable=hidden) as bar:
        for job, result in _results(todo, work, inputs.jobs, threads):
            bar.clear()
            if isinstance(result, Outcome):
                _tell(result, tuple(f"{job.source}: {note}" for note in result.notes), as_json=as_json, quiet=quiet)
            else:
                result.input = job.source
                if len(planned) == 1:
                    raise result
                failed += 1
                streams.complain(result, as_json=as_json)
            bar.update()
    line = f"{len(todo) - failed} of {len(planned)} files in {time.perf_counter() - started:.1f} s"
    if skipped := len(planned) - len(todo):
        line += f", {skipped} skipped, for their outputs exist"
    if len(planned) > 1 and not quiet and not as_json:
        click.echo(line, err=True)
    if failed:
        raise BatchError(f"{failed} of {len(planned)} files failed; all others are done")


def each(sources: tuple[str, ...], act: Callable[[str], None], *, as_json: bool) -> None:
    """Do something with each input, or with stdin; what is wrong with one of several does not stop the rest.

    Raises:
        BatchError: some of several failed; each was reported.
    """
    names, failed = sources or (streams.resolve_input(None),), 0
    for name in names:
        try:
            with streams.about(name):
                act(name)
        except NicodecError as error:
            if len(names) == 1:
                raise
            failed += 1
            streams.complain(error, as_json=as_json)
    if failed:
        raise BatchError(f"{failed} of {len(names)} files failed")


def _tell(outcome: Outcome, notes: tuple[str, ...], *, as_json: bool, quiet: bool) -> None:
    streams.warn(notes, quiet or as_json)
    fields = outcome.fields | ({"warnings": outcome.notes} if outcome.notes else {})
    streams.report(outcome.line, fields, as_json=as_json, quiet=quiet)


def _results(
    todo: list[Job], work: Work, processes: int, threads: int | None
) -> Iterator[tuple[Job, Outcome | NicodecError]]:
    if processes == 1 or len(todo) < 2:
        streams.set_threads(threads)
        for job in todo:
            yield job, _attempt(work, job)
        return
    processes = min(processes, len(todo))
    yield from _in_processes(todo, work, processes, max(1, (threads or os.cpu_count() or 1) // processes))


def _in_processes(
    todo: list[Job], work: Work, processes: int, share: int
) -> Iterator[tuple[Job, Outcome | NicodecError]]:
    """`share`: threads of each."""
    from concurrent.futures import ProcessPoolExecutor, as_completed  # these take as long to import as all of click
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (share,))
    try:
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers inherit it: of Ctrl-C, they hear from us
        futures = {pool.submit(_attempt_in_worker, work, job): job for job in todo}
        signal.signal(signal.SIGINT, heard)
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], OutOfMemoryError("a worker process died; is there enough memory for this many?")
    except BaseException:  # Ctrl-C: nothing new is begun, and what is half done ends at once
        workers = list(pool._processes.values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _attempt(work: Work, job: Job) -> Outcome | NicodecError:
    try:
        return work(job)
    except NicodecError as error:
        return error
    except MemoryError:
        return OutOfMemoryError("out of memory")
    except Exception as error:  # a defect of ours must not stop the rest either
        return NicodecError(f"internal error: {error!r}; please report it")


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGTERM, _stop_worker)
    streams.set_threads(threads)


class _Worker:
    """What SIGTERM finds in a worker. Between jobs it must not interrupt: half a message would block the parent."""

    working = stopped = False


def _stop_worker(*_: object) -> None:
    _Worker.stopped = True
    if _Worker.working:
        raise SystemExit


def _attempt_in_worker(work: Work, job: Job) -> Outcome | NicodecError:
    stopped = NicodecError("stopped")
    if _Worker.stopped:
        return stopped
    try:
        _Worker.working = True
        return _attempt(work, job)
    except SystemExit:
        return stopped
    finally:
        _Worker.working = False


def _is_pattern(name: str) -> bool:
    """Whether a name that is no file means several, for shells that leave patterns as they are."""
    return any(sign in name for sign in "*?[") and not streams.kind_of(name)


def _fixed_part(pattern: str) -> PurePath:
    """The folders of a pattern before the first sign that stands for several: its matches' tree starts there."""
    parts = PurePath(pattern).parts[:-1]
    fixed = next((index for index, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    return PurePath(*parts[:fixed])
