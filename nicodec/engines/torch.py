"""torch: on a GPU, or on the CPU for what has no graphs."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from nicodec.engines import Array
from nicodec.errors import UsageError
from nicodec.networks.functions import OF
from nicodec.zoo.load import load_base, load_clc, load_fuser, load_mode, load_restorer, load_trust, load_vq
from nicodec.zoo.manifest import Part
from nicodec.zoo.once import once
from nicodec.zoo.store import find_part

LOADED_IN = os.getpid()  # torch's threads, and so its results, stay in this process when it is forked


class TorchNetworks:
    """A part's modules, and their functions."""

    def __init__(self, kind: str, module: nn.Module, device: str) -> None:
        self.kind, self.module, self.device = kind, module, device
        self.functions = OF[kind](module, False)

    @torch.inference_mode(False)  # whatever mode the host program is in: some functions take gradients
    @torch.no_grad()
    def __call__(self, name: str, *arrays: Array) -> tuple[Array, ...]:
        check_process()
        given = [torch.from_numpy(array).to(self.device, torch.float32) for array in arrays]
        given = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given]
        with torch.autocast(torch.device(self.device).type, enabled=False):  # whatever the host program is in
            found = self.functions[name].call(*given)
        return tuple(x.contiguous().cpu().numpy() for x in (found if isinstance(found, tuple) else (found,)))

    def prepare(self, names: Sequence[str]) -> None:
        """Nothing is to be done."""

    def weight(self, name: str) -> NDArray[Any]:
        return self.module.state_dict()[name].float().cpu().numpy()

    def changed(self, weights: Mapping[str, Array]) -> TorchNetworks:
        module = copy.deepcopy(self.module)
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
        return TorchNetworks(self.kind, module, self.device)


LOAD: dict[str, Callable[[Part, str], nn.Module]] = {
    "base": load_base, "vq": load_vq, "mode": load_mode, "fuser": load_fuser, "restorer": load_restorer,
    "trust": load_trust,
    "dictionary": lambda part, place: load_clc(part, load_base(find_part("base", next(iter(part.trained_on))), place)),
}  # fmt: skip


@once
def load_torch(part: Part, device: str) -> TorchNetworks:
    """See `nicodec.engines.load_networks`."""
    place = resolve_device(device)
    return TorchNetworks(part.kind, LOAD[part.kind](part, place), place)


def check_process() -> None:
    """Refuse to work in the child of a fork, where torch waits for ever for threads that only the parent has.

    Raises:
        UsageError: this is one.
    """
    if os.getpid() != LOADED_IN:
        raise UsageError(
            "engine torch was loaded before this process was forked, and does not run in the child: start workers with "
            "multiprocessing's method spawn, or use engine onnx"
        )


def resolve_device(device: str) -> str:
    """`auto` to `cuda` where there is one, else `cpu`.

    Raises:
        UsageError: `cuda` was asked for and is not there; or as `check_process`.
    """
    check_process()
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but torch finds none here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
