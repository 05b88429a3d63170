"""A worker's process: it holds the model, and takes one file after the other, a line of JSON each way.

What kills it is known by the file that has no answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import IO, Any

from nicodec.errors import FULL, InputError, NicodecError, OutOfMemoryError, OutputError, out_of_memory
from nicodec.scale.places import read
from nicodec.scale.shards import Source
from nicodec.scale.tars import members
from nicodec.scale.work import Work, work_of


def serve() -> None:
    """Answer until the worker is gone.

    The first line says what work it is, how much memory there is for it, and where the worker keeps what is begun.
    """
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    if not (line := asked.readline()):
        return
    start = json.loads(line)
    limit_memory(start["memory"])
    with contextlib.suppress(BrokenPipeError):
        try:
            work = work_of(start["options"])
        except NicodecError as error:
            _answer(answers, {"error": str(error)})
            return
        _answer(answers, {})
        for line in asked:
            _answer(answers, _take(work, json.loads(line)))
    shutil.rmtree(start["scratch"], ignore_errors=True)  # the worker was killed, or it would have ended this process


def limit_memory(limit: int | None) -> None:
    """Bytes that this process may have of its own; what asks for more gets an error, if the system has such limits."""
    if limit is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _answer(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _take(work: Work, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["new"]:
        work.begin()
    started = time.perf_counter()
    source, output = Source(**asked["source"]), Path(asked["output"])
    try:
        data = read(source.url, source.start, source.end)
        output.parent.mkdir(parents=True, exist_ok=True)
        notes = work(data, output, partial(_beside, source))
        size = output.stat().st_size if work.writes else 0
        return {"input": len(data), "output": size, "seconds": time.perf_counter() - started, "notes": notes}
    except NicodecError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except OSError as error:  # of the disk here: those of the source are InputErrors
        said = f"cannot write {output}: {error.strerror or error}"
        return {"error": said, "exit_code": OutputError.exit_code, "full": error.errno in FULL}
    except Exception as error:
        if out_of_memory(error):
            return {"error": "out of memory", "exit_code": OutOfMemoryError.exit_code}
        return {"error": f"internal error: {error!r}; please report it", "exit_code": NicodecError.exit_code}


def _beside(source: Source, name: str) -> bytes:
    """What a file's neighbour of a name holds: in its folder, or in its tar. Raises: InputError."""
    if source.start is None:
        return read(f"{source.url.rpartition('/')[0]}/{name}")
    place = posixpath.join(posixpath.dirname(source.place), name)
    for other in members(source.url):
        if other.place == place:
            return read(other.url, other.start, other.end)
    raise InputError(f"there is no {place} in {source.url}")
