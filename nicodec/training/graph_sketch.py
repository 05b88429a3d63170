"""An ONNX graph that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from nicodec.engines import Array


class Sketch:
    """The nodes and constants of a graph that is being written. Values are names; whole numbers that only a run
    tells are names of int64 arrays (1,).
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.weights: dict[str, Array] = {}  # what whoever runs the graph has
        self.dtype = np.dtype(np.float32)  # of the arrays of the node that is being written

    def add(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """A node; returns the name of what it gives, or the names. Inputs that are no names become constants."""
        names = [f"v{len(self.nodes)}" if outputs == 1 else f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, given, names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any) -> str:
        """A small array, a float (as float32) or whole numbers (as int64), kept once."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        for name, known in self.constants.items():
            held = numpy_helper.to_array(known)
            if held.dtype == array.dtype and held.shape == array.shape and np.array_equal(held, array):
                return name
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def maker(self, name: str) -> NodeProto | None:
        """The node that gives a value; None: it is an input, a constant or a weight."""
        return next((node for node in reversed(self.nodes) if name in node.output), None)

    def needed(self, outputs: Sequence[str]) -> list[NodeProto]:
        """The nodes that some values depend on, in order."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.output):
                wanted.update(node.input)
                kept.append(node)
        return kept[::-1]

    def number(self, value: Any) -> Any:
        """A number that a node is given beside arrays, of their type."""
        return value if isinstance(value, str) else self.dtype.type(value)

    def numbers(self, values: Sequence[Any]) -> str:
        """Whole numbers, some of which only a run tells, as one int64 array."""
        if not any(isinstance(value, str) for value in values):
            return self.constant(np.array(values, np.int64))
        parts = [v if isinstance(v, str) else self.constant(np.array([v], np.int64)) for v in values]
        return parts[0] if len(parts) == 1 else str(self.add("Concat", *parts, axis=0))

    def whole(self, kind: str, *values: Any) -> Any:
        """Arithmetic of whole numbers, of which one at least only a run tells."""
        return self.add(kind, *(v if isinstance(v, str) else np.array([v], np.int64) for v in values))
