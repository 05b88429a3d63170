"""A worker: it works through shards, file by file, with a process of its own that may die of one.

A file that the process dies of is tried once more by a new one, and then set aside and reported. What is made is put
into the target as it comes; the shard's entry in the ledger is written last.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nicodec.errors import InputError, NicodecError, OutOfMemoryError, OutputError, WorkerDiedError
from nicodec.scale.ledger import Failure, Ledger, Tally
from nicodec.scale.places import Folder, FullError, read
from nicodec.scale.shards import Shard, Source
from nicodec.scale.tars import Files, Tar, members
from nicodec.scale.work import work_of
from nicodec.threads import thread_limits

TRIES = 2  # of a file that the process dies of
LONGEST = 3600.0  # seconds that a file may take
OFTEN = 1.0  # seconds between two words of progress
START = "import sys; sys.path[:] = sys.argv[1:]; from nicodec.scale.process import serve; serve()"


@dataclass(frozen=True)
class Order:
    """What all workers of a run are told.

    Attributes:
        options: see `work`.
        target: URL of the folder for outputs and ledger.
        tar: outputs are members of a tar a shard.
        threads: of each worker's networks.
        memory: bytes that each worker's process may have; None: no limit.
    """

    options: Mapping[str, Any]
    target: str
    tar: bool
    threads: int
    memory: int | None

    def ledger(self) -> Ledger:
        """That of the target."""
        return Ledger(Folder(self.target), {**self.options, "tar": self.tar})


class Worker:
    """Works through shards; its process starts with the first."""

    def __init__(self, order: Order) -> None:
        self.order, self.work, self.ledger = order, work_of(order.options), order.ledger()
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.stopped = False

    def run(self, shard: Shard) -> Iterator[int | Tally]:
        """Yields how many files have been taken since it last said so, then the shard's tally."""
        tally, taken, said, spoken = Tally(), 0, 0, time.monotonic()
        try:
            self._start()
            with tempfile.TemporaryDirectory(dir=self._home()) as scratch:
                for taken, _ in enumerate(self._take_all(shard, tally, Path(scratch)), 1):
                    if time.monotonic() - spoken > OFTEN:
                        yield taken - said
                        said, spoken = taken, time.monotonic()
            self.ledger.write(shard, tally)
        except NicodecError as error:
            tally.unfinished = Failure.of(shard.tar or f"shard {shard.name}", error)
        except OSError as error:
            said_why = OutputError(f"cannot write to {tempfile.gettempdir()}: {error.strerror or error}")
            tally.unfinished = Failure.of(shard.tar or f"shard {shard.name}", said_why)
        yield taken - said
        yield tally

    def close(self) -> None:
        """End the process, and remove what is begun. Nothing else could be lost."""
        self._end()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._scratch = None

    def stop(self) -> None:
        """End the process from another thread, for good."""
        self.stopped = True
        if (process := self._process) is not None:
            process.kill()

    def _take_all(self, shard: Shard, tally: Tally, scratch: Path) -> Iterator[None]:
        """Raises: NicodecError, the shard cannot be finished."""
        outputs, seen = self._outputs(shard, scratch), set[str]()
        for source in self._sources(shard, tally):
            try:
                if not self._is_beside(shard, source):
                    self._take(shard, source, outputs, scratch, tally, seen)
                elif self.order.tar:
                    (scratch / "beside").write_bytes(read(source.url, source.start, source.end))
                    outputs.add(source.place, scratch / "beside")
            except FullError:
                raise
            except (InputError, OutputError) as error:
                tally.failures.append(Failure.of(_spelled(source), error))
            seen.add(source.place)
            yield
        outputs.finish()

    def _take(
        self, shard: Shard, source: Source, outputs: Files | Tar, scratch: Path, tally: Tally, seen: Set[str]
    ) -> None:  # fmt: skip
        """Raises: InputError, OutputError: nothing is made of this one. As `_take_all`."""
        if source.place in seen:
            raise InputError("its shard holds two of this name; only the first is taken")
        name = self.work.name(source.place)
        if shard.tar is not None and not self.order.tar:
            name = f"{shard.name}/{name}"
        made = scratch / "made" / name
        asked = {"source": asdict(source), "output": str(made), "new": not seen}
        answer = self._attempt(asked)
        if answer.get("full"):
            raise FullError(answer["error"])
        if "error" in answer:
            tally.failures.append(Failure(_spelled(source), answer["error"], answer["exit_code"]))
            return
        if self.work.writes:
            outputs.add(name, made)
        tally.done += 1
        tally.input_bytes += answer["input"]
        tally.output_bytes += answer["output"]
        tally.seconds += answer["seconds"]
        tally.notes += [f"{_spelled(source)}: {note}" for note in answer["notes"]]

    def _outputs(self, shard: Shard, scratch: Path) -> Files | Tar:
        if self.order.tar:
            return Tar(self.ledger.target, f"{shard.name}.tar", scratch / "tar", keep=self.work.keeps)
        return Files(self.ledger.target, keep=self.work.keeps)

    def _sources(self, shard: Shard, tally: Tally) -> Iterator[Source]:
        """The shard's files; a tar that cannot be read on is a failure like that of a file."""
        if shard.tar is None:
            yield from shard.sources
            return
        try:
            yield from members(shard.tar)
        except InputError as error:
            tally.failures.append(Failure.of(shard.tar, error))

    def _is_beside(self, shard: Shard, source: Source) -> bool:
        """Whether a member of a tar is not what the work is for: a caption, a label."""
        return shard.tar is not None and posixpath.splitext(source.place)[1].lower() not in self.work.reads

    def _attempt(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What the process answers; where it dies instead, and the next one too, what it died of."""
        died: list[str] = []
        while len(died) < TRIES:
            self._start()
            answer = self._ask(asked, LONGEST)
            if answer is not None:
                return answer
            died.append(self._death())
        error = f"the worker's process died of it {len(died)} times ({', '.join(dict.fromkeys(died))}); it is set aside"
        return {"error": error, "exit_code": WorkerDiedError.exit_code}

    def _start(self) -> None:
        """Raises: WorkerDiedError, OutOfMemoryError: there is no process."""
        if self.stopped:
            raise NicodecError("stopped")
        if self._process is not None:
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env={**os.environ, **thread_limits(self.order.threads)},
                start_new_session=True,  # Ctrl-C is for the parent to answer
            )  # fmt: skip
        except OSError as error:
            raise OutOfMemoryError(f"no process for a worker: {error.strerror}") from None
        start = {"options": self.order.options, "memory": self.order.memory, "scratch": self._home()}
        answer = self._ask(start, LONGEST)
        if answer is None or "error" in answer:
            why = f"{self._death()}; has it enough memory?" if answer is None else answer["error"]
            self._end()
            raise WorkerDiedError(f"a worker's process on {platform.node()} does not start: {why}")

    def _home(self) -> str:
        """The folder of what is begun. Where the worker is killed, its process removes it. Raises: OSError."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="nicodec-", ignore_cleanup_errors=True)
        return self._scratch.name

    def _ask(self, asked: Mapping[str, Any], limit: float) -> dict[str, Any] | None:
        """None: the process is gone."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(limit, process.kill)
        watch.start()
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            watch.cancel()
        return json.loads(line) if line.endswith(b"\n") else None

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _death(self) -> str:
        """How the process ended."""
        process = self._process
        assert process is not None
        code = process.wait()
        self._end()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _spelled(source: Source) -> str:
    """How a user finds a file."""
    return source.url if source.start is None else f"{source.url}: {source.place}"
