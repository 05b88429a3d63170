"""Another codec's decoder, in a process of its own: whatever a file does to it, this one lives on.

One such process serves all files, one after the other; after a crash the next file gets a new one. What is asked and
answered is a line of JSON each, and the bytes that it announces.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nicodec import errors
from nicodec.container.layout import Foreign
from nicodec.errors import CorruptFileError, NicodecError, OutOfMemoryError, out_of_memory
from nicodec.zoo.manifest import Part

KILL = 9  # the signal; Windows has no name for it, nor ends a process by one
START = "import sys; sys.path[:] = sys.argv[1:]; from nicodec.foreign.isolated import serve; serve()"
PATIENCE = 120.0  # seconds, for the start
SLOWEST = 5000  # pixels a second: a tenth of what the slowest of these codecs does on one core


class Decoder:
    """The other process, which starts with the first file."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave the process to whoever else has it: after a fork, the parent."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, foreign: Foreign, part: Part, device: str, pixels: int) -> tuple[NDArray[np.float32], int, int]:
        """The strings of a picture of so many pixels to y_hat (1, M, h, w), how many symbols it has, and their CRC.

        Raises:
            CorruptFileError: the strings do not decode, crash their decoder, or keep it busy without end.
            OutOfMemoryError: the machine does not give what that takes.
            DamagedPartError: the part does not hold this codec.
        """
        import torch

        limit = PATIENCE + pixels / SLOWEST
        asked = {
            "name": foreign.name, "shape": foreign.shape, "id": part.id.hex(), "path": str(part.path.resolve()),
            "package": part.package, "device": device, "threads": torch.get_num_threads(),
        }  # fmt: skip
        answer, parts = self._ask(asked, foreign.strings, limit, foreign.name)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        y_hat = np.frombuffer(bytearray(parts[0]), "<f4").reshape(answer["shape"])
        return y_hat, answer["symbols"], answer["crc"]

    def start(self) -> None:
        """Let the process begin to load what it needs, while others do."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process. It holds nothing that could be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what was not sent need not be
                    stream.close()  # type: ignore[union-attr]
        self._process = None

    def _ask(self, asked: dict[str, Any], parts: Sequence[bytes], limit: float, name: str) -> Any:
        with self._lock:
            process = self._running()
            started = time.monotonic()
            watch = threading.Timer(limit, process.kill)
            watch.start()
            try:
                _send(process.stdin, asked, parts)  # type: ignore[arg-type]
                return _receive(process.stdout)  # type: ignore[arg-type]
            except (BrokenPipeError, EOFError):
                code, late = process.wait(), time.monotonic() - started >= limit
                self.close()
                raise _ended(name, code, limit if late else None) from None
            except BaseException:  # Ctrl-C: an answer that nobody read must not be taken for the next file's
                self.close()
                raise
            finally:
                watch.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", START, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, start_new_session=True,  # Ctrl-C is for the parent to answer
                )  # fmt: skip
            except OSError as error:
                raise OutOfMemoryError(f"no process for another codec's decoder: {error.strerror}") from None
        return self._process


DECODER = Decoder()
atexit.register(DECODER.close)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=DECODER.forget)


def _ended(name: str, code: int, limit: float | None) -> NicodecError:
    """Why there is no answer, by how the process ended."""
    if limit is not None:
        return CorruptFileError(f"the strings keep {name}'s decoder busy: no end in {limit:.0f} s; they may be damaged")
    if code == -KILL:
        return OutOfMemoryError(f"{name}'s decoder was killed: it takes the whole picture at once; is there memory?")
    if code < 0:
        return CorruptFileError(f"the strings crash {name}'s decoder ({signal.Signals(-code).name}): they are damaged")
    return NicodecError(f"{name}'s decoder does not run: exit code {code} of {sys.executable}")


def serve() -> None:
    """The other process: answer until the parent is gone."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    import nicodec.foreign.adapters  # noqa: F401  # takes seconds, and the first file is not there yet

    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            _send(answers, *_answer(*_receive(asked)))


def _answer(asked: dict[str, Any], strings: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    try:
        return _decoded(asked, strings)
    except NicodecError as error:
        return {"error": type(error).__name__, "message": str(error)}, []
    except Exception as error:
        if out_of_memory(error):
            said = f"{asked['name']}'s decoder ran out of memory: it takes the whole picture at once"
            return {"error": OutOfMemoryError.__name__, "message": said}, []
        return {"error": NicodecError.__name__, "message": f"internal error: {error!r}; please report it"}, []


def _decoded(asked: dict[str, Any], strings: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    import torch

    from nicodec.foreign.adapters import symbols_crc
    from nicodec.zoo.load import load_foreign

    torch.set_num_threads(asked["threads"])
    part = Part("base", bytes.fromhex(asked["id"]), Path(asked["path"]), asked["package"])
    height, width = asked["shape"]
    foreign = Foreign(asked["name"], part.id, (height, width), strings)
    y_hat, symbols = load_foreign(part, asked["device"]).latent(foreign)
    found = {"shape": y_hat.shape, "symbols": symbols.size, "crc": symbols_crc(symbols)}
    return found, [y_hat.cpu().numpy().astype("<f4").tobytes()]


def _send(stream: IO[bytes], head: dict[str, Any], parts: Sequence[bytes]) -> None:
    stream.write(json.dumps({"head": head, "sizes": [len(part) for part in parts]}).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """What `_send` sent.

    Raises:
        EOFError: the other side is gone.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    announced = json.loads(line)
    parts = [stream.read(size) for size in announced["sizes"]]
    if [len(part) for part in parts] != announced["sizes"]:
        raise EOFError
    return announced["head"], parts
