"""Several processes that train as one, as `torchrun` starts them: each has crops of its own, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch import distributed as dist


class Ranks:
    """The processes of a run: `rank` 0..count-1 is this one, and 0 is the one that writes. Alone: 0 of 1."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
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
