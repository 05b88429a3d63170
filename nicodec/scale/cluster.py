"""Workers on a Ray cluster: an actor for each, wherever there is room.

Ray's `ActorPool` keeps actors that have died, and its restarts wait for room while others are idle. So the shard of a
lost worker is given to whoever is free next, and another worker is asked for in the place of the lost one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from nicodec.errors import ClusterError, WorkerDiedError, brief
from nicodec.scale.ledger import Failure, Tally
from nicodec.scale.shards import Shard
from nicodec.scale.worker import Order, Worker

LOSSES = 3  # of workers over one shard, after which it is left undone; or of workers in a row that do not even start
REACHED = 10.0  # seconds in which a cluster must answer
PATIENCE = 300.0  # seconds without any worker: a cluster may have to start machines


def run(
    order: Order, shards: Iterator[Shard], count: int | None, *, address: str | None, gpus: int
) -> Generator[int | Tally, None, None]:  # fmt: skip
    """What workers say, see `Worker.run`; of a shard that was lost, what was said is taken back.

    Args:
        count: of workers; None: as many as the cluster has room for now.
        address: of the cluster; None: one is started on this machine.
        gpus: of each worker.

    Raises:
        ClusterError: it is not there, or has no room for a worker.
        As the iterator of shards.
    """
    connect(address)
    try:
        yield from Crew(order, shards, count, gpus).run()
    finally:
        ray.shutdown()


def connect(address: str | None) -> None:
    """Raises: ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address and (port := address.rpartition(":")[2]).isdecimal():  # Ray itself goes on trying for many minutes
            host = address.rpartition("://")[2].rpartition(":")[0]
            socket.create_connection((host, int(port)), REACHED).close()
        ray.init(address, log_to_driver=False, logging_level="error", include_dashboard=None if address else False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"at {address}: {brief(error)}; `ray start --head` begins one" if address else f"here: {brief(error)}"
        raise ClusterError(f"no Ray cluster {where}") from None
    signal.signal(signal.SIGTERM, handler)  # Ray has one of its own, with another exit code


@dataclass
class Post:
    """A worker, and what it is at; None: it has not begun yet."""

    actor: Any
    shard: Shard | None = None
    told: int = 0  # files of it
    done: bool = False  # its tally has come


class Crew:
    """The workers of a run; see `run`."""

    def __init__(self, order: Order, shards: Iterator[Shard], count: int | None, gpus: int) -> None:
        room = ray.cluster_resources()
        cores = int(room.get("CPU", 0)) // order.threads
        self.count = count or max(1, min(cores, int(room.get("GPU", 0)) // gpus) if gpus else cores)
        self.order, self.shards = order, shards
        self.again, self.losses, self.failed = deque[Shard](), Counter[Shard](), 0
        self.needs = {"num_cpus": order.threads, "num_gpus": gpus, "memory": order.memory}
        self.posts: dict[Any, Post] = {}  # by what will be heard of them: that they are there, or a stream
        self.idle: list[Any] = []

    def run(self) -> Iterator[int | Tally]:
        """Until every shard has been given to a worker and come back."""
        for _ in range(self.count):
            self._hire()
        while True:
            while self.idle and (shard := self._next()) is not None:
                actor = self.idle.pop()
                self.posts[actor.run.options(num_returns="streaming").remote(shard)] = Post(actor, shard)
            working = any(post.shard is not None for post in self.posts.values())
            if self.idle and not working:
                return
            ready, _ = ray.wait(list(self.posts), timeout=PATIENCE)
            if not ready and not working:
                raise ClusterError(f"the cluster has no room for a worker: it needs {self.needs}")
            for stream in ready:
                yield from self._hear(stream)

    def _next(self) -> Shard | None:
        return self.again.popleft() if self.again else next(self.shards, None)

    def _hire(self) -> None:
        actor = ray.remote(Worker).options(**self.needs).remote(self.order)
        self.posts[actor.__ray_ready__.remote()] = Post(actor)

    def _hear(self, stream: Any) -> Iterator[int | Tally]:
        """What has come from one of them; an end of the stream, or of the worker, changes who does what."""
        post = self.posts[stream]
        try:
            said = ray.get(stream if post.shard is None else next(stream))
        except StopIteration:
            del self.posts[stream]
            self.idle.append(post.actor)
        except ray.exceptions.RayError as error:
            del self.posts[stream]
            yield from self._lose(post, error)
        else:
            if post.shard is None:
                del self.posts[stream]
                self.idle.append(post.actor)
                self.failed = 0
                return
            if isinstance(said, Tally):
                post.done = True
            else:
                post.told += said
            yield said

    def _lose(self, post: Post, error: Exception) -> Iterator[int | Tally]:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(post.actor)
        if post.shard is None:
            self.failed += 1
            if self.failed == LOSSES:
                raise ClusterError(f"{LOSSES} workers in a row did not start: {brief(error)}")
        elif not post.done:  # a worker may be lost after the last word of its shard
            yield -post.told
            self.losses[post.shard] += 1
            if self.losses[post.shard] < LOSSES:
                self.again.append(post.shard)
            else:
                said = WorkerDiedError(f"{LOSSES} workers were lost over it: {brief(error)}")
                yield Tally(unfinished=Failure.of(post.shard.tar or f"shard {post.shard.name}", said))
        self._hire()
