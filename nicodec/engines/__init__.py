"""Who runs the networks: one Protocol, onnxruntime on the CPU by default, torch on a GPU or on demand."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nicodec.errors import MissingEngineError
from nicodec.zoo.manifest import Part

Array = NDArray[np.float32]

MAPPED = "_mapped"  # ends the names of graphs for a rate that is a map
INSTALL = {"onnx": ("onnxruntime", "onnxruntime"), "torch": ("torch", "nicodec[torch]")}  # module, what brings it


class Networks(Protocol):
    """The networks of a part: functions of float32 arrays, by the names in `nicodec.networks.functions`."""

    def __call__(self, name: str, *arrays: Array) -> tuple[Array, ...]:
        """What a function gives for arrays in its order. Safe to call from several threads."""

    def weight(self, name: str) -> NDArray[Any]:
        """A weight that is read and not run, such as a table over the rate: float32."""

    def changed(self, weights: Mapping[str, Array]) -> Networks:
        """The same networks with some other weights; these stay."""


def choose(engine: str, device: str) -> str:
    """`onnx` or `torch` for what was asked for: `auto` takes torch for a GPU, else onnx where it is installed.

    Raises:
        MissingEngineError: an engine, or for `auto` both, are not installed.
    """
    if engine == "auto":
        engine = "torch" if device == "cuda" or not is_installed("onnx") else "onnx"
    if not is_installed(engine):
        module, brings = INSTALL[engine]
        raise MissingEngineError(f"engine {engine} needs {module}, which is not installed; pip install '{brings}'")
    return engine


def is_installed(engine: str) -> bool:
    """Whether what an engine needs is there; it is not imported."""
    return find_spec(INSTALL[engine][0]) is not None


def load_networks(part: Part, engine: str, device: str) -> Networks:
    """The networks of a part, ready to run; loaded once a process.

    Args:
        engine: `onnx`, on the CPU whatever the device; or `torch`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        DamagedPartError: the part does not hold them.
        MissingPartError: `onnx`, and the part's package has no graphs.
        UsageError: the device is not there.
    """
    if engine == "onnx":
        from nicodec.engines import onnx

        return onnx.load(part)
    from nicodec.engines import torch

    return torch.load(part, device)
