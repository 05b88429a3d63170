"""Work in threads, a few results ahead of whoever takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import TypeVar

import numpy as np

from nicodec.threads import thread_count

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MOST_THREADS = 2  # of more, few work at a time, for they share the interpreter's lock; and each holds a result


def in_threads(work: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, each: int = 0) -> Iterator[ResultT]:
    """The results for all items, in order: no more of them than threads are made before they are asked for.

    Args:
        each: bytes that a thread takes for good; where there are not so many, the caller works alone.

    Raises: what `work` does, in place of the first result that it made of it.
    """
    threads = min(MOST_THREADS, thread_count(), len(items))
    if threads < 2 or not _has_room(threads * each):
        yield from map(work, items)
        return
    waiting: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(_submitted(pool, partial(work, item)))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def begun(work: Callable[[], ResultT], *, each: int = 0) -> Callable[[], ResultT]:
    """Work that goes on in a thread, if there may be a second one, or else is done when its result is first asked for.

    Args:
        each: as `in_threads`.

    Returns:
        What waits for the result, as often as it is called.
    """
    if thread_count() < 2 or not _has_room(each):
        return cache(work)
    with suppress(RuntimeError):  # the machine gives no further thread
        pool = ThreadPoolExecutor(1)
        future = pool.submit(work)
        pool.shutdown(wait=False)
        return future.result
    return cache(work)


def _has_room(size: int) -> bool:
    try:
        np.empty(size, np.uint8)
    except MemoryError:
        return False
    return True


def _submitted(pool: ThreadPoolExecutor, work: Callable[[], ResultT]) -> Future[ResultT]:
    try:
        return pool.submit(work)
    except RuntimeError:  # the machine gives no further thread
        done: Future[ResultT] = Future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        return done
