"""Signals that would end the process, put off while something must not be left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What SIGTERM and Ctrl-C do, they do when the block is done, a `finally` in it included.

    Handlers raise wherever the main thread is, and only there: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)

    usual = {ending: handler for ending in ENDING if callable(handler := signal.getsignal(ending))}
    for ending in usual:
        signal.signal(ending, note)
    try:
        yield
    finally:
        for ending, handler in usual.items():
            signal.signal(ending, handler)
        for number in asked[:1]:
            usual[signal.Signals(number)](number, None)
