"""onnxruntime, on the CPU: starts at once. Graphs come from the package, weights from the part's own file."""

from __future__ import annotations

import os
import threading
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from nicodec.engines import MAPPED, Array
from nicodec.errors import DamagedPartError, NicodecError, OutOfMemoryError, brief, out_of_memory
from nicodec.threads import thread_count
from nicodec.zoo.manifest import Part
from nicodec.zoo.once import once
from nicodec.zoo.stored import read_weights

FAILURES: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(runtime).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
UNFIT: tuple[type[Exception], ...] = (*FAILURES, KeyError, ValueError)
TEXT, DESCRIPTION = 2, 6  # a type and a field of protobuf messages; in ONNX's (onnx.proto) few fields come before


class OnnxNetworks:
    """A part's graphs, each with a session of its own from its first call on."""

    def __init__(self, part: Part, weights: Mapping[str, Array]) -> None:
        self.part, self.weights = part, weights
        self._lock = threading.Lock()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        _living.add(self)

    def __call__(self, name: str, *arrays: Array) -> tuple[Array, ...]:
        if any(array.ndim == 3 for array in arrays):  # only a map of rates has so many sides
            name += MAPPED
        session = self._session(name)
        inputs = (given.name for given in session.get_inputs())
        given = {at: np.ascontiguousarray(array, np.float32) for at, array in zip(inputs, arrays, strict=True)}
        try:
            return tuple(session.run(None, given))
        except FAILURES as error:
            raise self._translated(error, f"graph {name} does not run") from None

    def prepare(self, names: Sequence[str]) -> None:
        with suppress(RuntimeError):  # the machine gives no further thread
            threading.Thread(target=self._prepare, args=(names,)).start()

    def _prepare(self, names: Sequence[str]) -> None:
        with suppress(NicodecError):  # whoever calls the function hears of it
            for name in names:
                self._session(name)

    def weight(self, name: str) -> NDArray[Any]:
        return self.weights[name]

    def changed(self, weights: Mapping[str, Array]) -> OnnxNetworks:
        return OnnxNetworks(self.part, ChainMap(dict(weights), self.weights))  # type: ignore[arg-type]

    def forget(self) -> None:
        """Leave the sessions to whoever has their threads: after a fork, the parent."""
        _left.append(self._sessions)
        self._lock, self._sessions = threading.Lock(), {}

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        with self._lock:
            if name not in self._sessions:
                try:
                    self._sessions[name] = self._start(self.part.graph(name))
                except UNFIT as error:
                    raise self._translated(error, f"graph {name} is not the part's") from None
            return self._sessions[name]

    def _start(self, graph: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may want the cores
        options.enable_cpu_mem_arena = False  # it keeps what the largest picture took
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 4  # failures are raised anyway
        names = weights_of(graph)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight_named(self.weights, name)) for name in names]
        options.add_external_initializers(names, values)
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _translated(self, error: Exception, said: str) -> NicodecError:
        if out_of_memory(RuntimeError(str(error))):
            return OutOfMemoryError(f"the machine has not enough free memory to run {self.part.kind} networks")
        return DamagedPartError(f"{self.part.path}: {said}: {brief(error)}")


_living: WeakSet[OnnxNetworks] = WeakSet()
_left: list[Any] = []  # ending a session waits for threads that a fork did not bring along


def _after_fork() -> None:
    for networks in list(_living):
        networks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@once
def load_onnx(part: Part) -> OnnxNetworks:
    """See `nicodec.engines.load_networks`."""
    return OnnxNetworks(part, read_weights(part))


def weight_named(weights: Mapping[str, Array], name: str) -> Array:
    """A weight that a graph asks for: one of a part, `NAME`, or its first or second half, `NAME/0` or `NAME/1`.

    Raises:
        KeyError: there is none of that name.
    """
    if name in weights:
        return weights[name]
    weight = weights[whole_of(name)]
    middle = -(-len(weight) // 2)
    return {"0": weight[:middle], "1": weight[middle:]}[name.rpartition("/")[2]]


def whole_of(name: str) -> str:
    """The weight that `NAME/0` and `NAME/1` are halves of."""
    return name.rpartition("/")[0]


def weights_of(graph: bytes) -> list[str]:
    """The names of the weights that a graph leaves to whoever runs it: a line each in its file's description.

    Raises:
        ValueError: it is no ONNX file with a description.
    """
    try:
        view, at = memoryview(graph), 0
        while at < len(view):
            field, kind = divmod(view[at], 8)
            number, at = _number(view, at + 1)
            if kind == TEXT:
                if field == DESCRIPTION:
                    return bytes(view[at : at + number]).decode().split()
                at += number
    except (IndexError, UnicodeDecodeError):
        pass
    raise ValueError("no ONNX file that says which weights it takes")


def _number(view: memoryview, at: int) -> tuple[int, int]:
    """A whole number of a protobuf message, and where it ends."""
    value = shift = 0
    while True:
        value |= (view[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if view[at - 1] < 128:
            return value, at
