"""Who runs the networks: one Protocol, onnxruntime on the CPU by default, torch on a GPU or on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nicodec.errors import MissingPackageError, UsageError
from nicodec.zoo.manifest import Part

Array = NDArray[np.float32]

MAPPED = "_mapped"  # ends the names of graphs for a rate that is a map
INSTALL = {"onnx": ("onnxruntime", "onnxruntime"), "torch": ("torch", "'nicodec[torch]'")}  # module, what brings it


class Networks(Protocol):
    """The networks of a part: functions of float32 arrays, by the names in `nicodec.networks.functions`."""

    def __call__(self, name: str, *arrays: Array) -> tuple[Array, ...]:
        """What a function gives for arrays in its order. Safe to call from several threads."""

    def prepare(self, names: Sequence[str]) -> None:
        """Get functions ready that will soon be called, in this order, while the caller is busy with something else."""

    def weight(self, name: str) -> NDArray[Any]:
        """A weight that is read and not run, such as a table over the rate: float32."""

    def changed(self, weights: Mapping[str, Array]) -> Networks:
        """The same networks with some other weights; these stay."""


def choose(engine: str, device: str, part: Part) -> str:
    """`onnx` or `torch` for what was asked for: `auto` takes torch for a GPU, and for a part without graphs.

    Raises:
        MissingPackageError: the engine is not installed.
        UsageError: onnx and a GPU.
    """
    if engine == "onnx" and device == "cuda":
        raise UsageError("engine onnx runs on the CPU; use --engine torch with --device cuda")
    if engine == "auto":
        engine = "onnx" if device != "cuda" and part.graphs else "torch"
    if find_spec(INSTALL[engine][0]) is None:
        module, brings = INSTALL[engine]
        other = "torch" if engine == "onnx" else "onnx"
        raise MissingPackageError(
            f"the {part.kind} of model {part.package} runs on engine {engine} here, which needs {module}: install it "
            f"with `pip install {brings}`, or use --engine {other}"
        )
    return engine


def load_networks(part: Part, engine: str, device: str) -> Networks:
    """The networks of a part, ready to run; loaded once a process.

    Args:
        engine: `auto`, `onnx` or `torch`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        DamagedPartError: the part does not hold them.
        MissingPartError: `onnx`, and the part's package has no graphs.
        MissingPackageError: see `choose`.
        UsageError: the device is not there.
    """
    if choose(engine, device, part) == "onnx":
        from nicodec.engines.onnx import load_onnx

        return load_onnx(part)
    from nicodec.engines.torch import load_torch

    return load_torch(part, device)
