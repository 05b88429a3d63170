"""Many files in one call, one after the other or several at once; a bad one does not stop the rest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from nicodec.cli import flags, messages, streams
from nicodec.cli.inputs import Inputs, Job, is_done
from nicodec.errors import BatchError, NicodecError, OutOfMemoryError, OutputError, about


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


def run_one(
    job: Job, work: Work, inputs: Inputs, threads: int | None, *, as_json: bool, quiet: bool
) -> None:  # fmt: skip
    """Do one job in this process; its error is the call's."""
    if inputs.skip_existing and is_done(job):
        return
    flags.set_threads(threads)
    with about(job.source):
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
                messages.complain(result, as_json=as_json)
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
            with about(name):
                act(name)
        except NicodecError as error:
            if len(names) == 1:
                raise
            failed += 1
            messages.complain(error, as_json=as_json)
    if failed:
        raise BatchError(f"{failed} of {len(names)} files failed")


def _tell(outcome: Outcome, notes: tuple[str, ...], *, as_json: bool, quiet: bool) -> None:
    messages.warn(notes, quiet or as_json)
    fields = outcome.fields | ({"warnings": outcome.notes} if outcome.notes else {})
    messages.report(outcome.line, fields, as_json=as_json, quiet=quiet)


def _results(
    todo: list[Job], work: Work, processes: int, threads: int | None
) -> Iterator[tuple[Job, Outcome | NicodecError]]:
    if processes == 1 or len(todo) < 2:
        flags.set_threads(threads)
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
    flags.set_threads(threads)


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
