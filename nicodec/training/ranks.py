"""Several processes that train as one: each has crops of its own, gradients are averaged.

`launch` starts them, or `torchrun`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from nicodec.errors import NicodecError, TrainingRunError, brief

GRACE = 60.0  # seconds that a process has when another one failed: it may wait for that one


class Ranks:
    """The processes of a run: `rank` 0..count-1 is this one, and 0 is the one that writes. Alone: 0 of 1."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1 and not dist.is_initialized():
            alone = 0 < self.count <= torch.cuda.device_count()  # NCCL refuses ranks that share a GPU
            dist.init_process_group("nccl" if alone else "gloo")
        self.rank = dist.get_rank() if self.count > 1 else 0

    def share(self, module: nn.Module) -> None:
        """Give all ranks the weights and buffers of the first."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter], *figures: float) -> list[float]:
        """Average the gradients of all ranks, in place, and some figures; one message.

        A parameter that no rank had a use for keeps its gradient of None; all ranks use the same ones.
        """
        if self.count == 1:
            return list(figures)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        message = torch.cat([*(g.flatten() for g in gradients), gradients[0].new_tensor(figures)])
        dist.all_reduce(message)
        message /= self.count
        for gradient, piece in zip(gradients, _pieces(message, gradients), strict=True):
            gradient.copy_(piece.view_as(gradient))
        return message[-len(figures) :].tolist() if figures else []


def _pieces(message: Tensor, like: list[Tensor]) -> list[Tensor]:
    sizes = [tensor.numel() for tensor in like]
    return list(torch.split(message[: sum(sizes)], sizes))


def launch(count: int, work: Callable[..., object], *arguments: Any) -> None:
    """Call `work` in `count` new processes that train as one; they share the cores, and the GPU, which several keep
    busy while each of them cuts crops and launches kernels. SIGTERM and Ctrl-C reach them all.

    They end with this one, whatever ends it.

    Raises:
        NicodecError: what one of them raised; all others are ended.
        TrainingRunError: one of them ended without a word.
    """
    context = get_context("spawn")
    errors = context.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [
        context.Process(target=_join, args=(rank, count, port, errors, work, arguments), daemon=True)
        for rank in range(count)
    ]
    asked: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        for process in processes:
            process.start()
        _attend(processes, asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for process in processes:
            if process.pid is not None:
                process.kill()
    if not asked and any(process.exitcode for process in processes):
        if not errors.empty():
            raise errors.get()
        codes = ", ".join(str(process.exitcode) for process in processes)
        raise TrainingRunError(f"a process of the run ended without a word (exit codes {codes}); out of memory?")


def _attend(processes: Sequence[BaseProcess], asked: list[int]) -> None:
    """Wait for the end of all. Where a signal came, or one failed, the others are asked to stop."""
    failed = 0.0
    told = False
    while alive := [process for process in processes if process.is_alive()]:
        if not failed and any(process.exitcode for process in processes):
            failed = time.monotonic()
        if (asked or failed) and not told:
            told = True
            for process in alive:
                process.terminate()
        if failed and time.monotonic() - failed > GRACE:
            for process in alive:
                process.kill()
        connection.wait([process.sentinel for process in alive], timeout=0.5)


def _join(
    rank: int, count: int, port: int, errors: Any, work: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    """What a process of `launch` does."""
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(*arguments)
    except Exception as error:
        errors.put(error if isinstance(error, NicodecError) else TrainingRunError(f"the run failed: {brief(error)}"))
        raise SystemExit(1) from None
    if dist.is_initialized():
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """End when the parent has: a killed one tells nobody, and a run that is resumed would be written by two."""
    parent = parent_process()
    assert parent is not None, "`launch` started this process"
    connection.wait([parent.sentinel])
    os._exit(1)
