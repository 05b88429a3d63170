"""Signals that would end the process, put off while something must not be left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What SIGTERM and Ctrl-C do, they do when the block is done, a `finally` in it included.

    Handlers raise wherever the main thread is, and only there: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[tuple[Callable[[int, FrameType | None], Any], int]] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, lambda number, _, handler=handler: asked.append((handler, number)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for handler, number in asked[:1]:
            handler(number, None)
