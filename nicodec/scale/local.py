"""Workers on this machine: a thread for each, which minds a process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator

from nicodec.scale.ledger import Tally
from nicodec.scale.shards import Shard
from nicodec.scale.worker import Order, Worker

GRACE = 10.0  # seconds in which a worker that is stopped removes what it had begun
Heard = queue.SimpleQueue["int | Tally | Exception | None"]  # None: a worker has nothing left to do


def run(order: Order, shards: Iterator[Shard], count: int) -> Generator[int | Tally, None, None]:
    """What `count` workers say, see `Worker.run`; each takes a shard when it has done one.

    Raises: as the iterator of shards.
    """
    heard, taking = Heard(), threading.Lock()
    workers = [Worker(order) for _ in range(count)]
    threads = [
        threading.Thread(target=_attend, args=(worker, shards, taking, heard), daemon=True) for worker in workers
    ]
    try:
        for thread in threads:
            thread.start()
        working = count
        while working:
            said = heard.get()
            if isinstance(said, Exception):
                raise said
            if said is None:
                working -= 1
            else:
                yield said
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(GRACE)


def _attend(worker: Worker, shards: Iterator[Shard], taking: threading.Lock, heard: Heard) -> None:
    """What a thread does: one shard after the other, of those that all take from."""
    try:
        while not worker.stopped:
            with taking:
                shard = next(shards, None)
            if shard is None:
                break
            for said in worker.run(shard):
                heard.put(said)
        heard.put(None)
    except Exception as error:  # to be raised by who listens
        heard.put(error)
    finally:
        worker.close()
