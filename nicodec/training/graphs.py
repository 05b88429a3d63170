"""Named functions to ONNX graphs without weights: these stay in the part's file, and graphs ask for them by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, ValueInfoProto, helper
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from nicodec.engines import MAPPED, Array
from nicodec.engines.onnx import weight_named, whole_of
from nicodec.errors import ExportError
from nicodec.networks.functions import OF, Function, Input
from nicodec.networks.layers import Pointwise
from nicodec.training.graph_ops import write
from nicodec.training.graph_sketch import Sketch
from nicodec.zoo.load import (
    has_adapters,
    is_foreign,
    load_base,
    load_clc,
    load_fuser,
    load_mode,
    load_restorer,
    load_trust,
    load_vq,
)
from nicodec.zoo.manifest import Package, Part, graph_path, part_id, read_manifest, write_manifest

OPSET, IR_VERSION = 20, 10
ELSEWHERE = "weights"  # where a graph says that a weight is: with whoever runs it
LITERAL_MAX = 1 << 12  # numbers in an array that a network's code may make by itself
aten = torch.ops.aten
TORCH_ALONE = (
    torch.amp.autocast_mode._enter_autocast, torch.amp.autocast_mode._exit_autocast, torch._C._set_grad_enabled,
)  # fmt: skip


def write_graphs(folder: Path, kinds: Collection[str] | None = None) -> None:
    """Make the graphs of parts of the package in `folder`, and name them in its manifest.

    Args:
        kinds: of the parts; None: all. The graphs of others stay.

    Raises:
        DamagedPartError: no package, or a part that is not whole.
        ExportError: a network has an operator that is not known.
    """
    package = read_manifest(folder / "model.toml")
    graphs = {kind: part.graphs for kind, part in package.parts.items()}
    for part, module in _modules(package, package.parts if kinds is None else kinds):
        made = part_graphs(part, module)
        graphs[part.kind] = {name: part_id(graph) for name, graph in made.items()}
        for name, graph in made.items():
            path = graph_path(part.path.parent, part.kind, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(graph)
    files = {kind: os.path.relpath(part.path, folder) for kind, part in package.parts.items()}
    write_manifest(folder, package.name, package.summary, files, graphs)


def complete_graphs(folder: Path) -> bool:
    """As `write_graphs`, of the parts that have none; returns whether there were any."""
    parts = read_manifest(folder / "model.toml").parts.items()
    missing = [kind for kind, part in parts if _has_networks(part) and not part.graphs]
    if missing:
        write_graphs(folder, missing)
    return bool(missing)


def part_graphs(part: Part, module: nn.Module) -> dict[str, bytes]:
    """The graphs of all functions of a part, by name."""
    return {name: make_graph(function, module) for name, function in _functions(part.kind, module).items()}


def _modules(package: Package, kinds: Collection[str]) -> Iterator[tuple[Part, nn.Module]]:
    base = package.parts["base"]
    loads: dict[str, Callable[[Part], nn.Module]] = {
        "base": lambda part: load_base(part, "cpu"),
        "vq": lambda part: load_vq(part, "cpu"),
        "mode": lambda part: load_mode(part, "cpu"),
        "fuser": lambda part: load_fuser(part, "cpu"),
        "restorer": lambda part: load_restorer(part, "cpu"),
        "trust": lambda part: load_trust(part, "cpu"),
        "dictionary": lambda part: load_clc(part, load_base(base, "cpu")),
    }
    for kind, part in package.parts.items():
        if kind in kinds and _has_networks(part):
            yield part, loads[kind](part)


def _has_networks(part: Part) -> bool:
    if part.kind == "dictionary":
        return has_adapters(part)
    return part.kind in OF and not (part.kind == "base" and is_foreign(part))


def _functions(kind: str, module: nn.Module) -> dict[str, Function]:
    """The functions of a part; those that see the rate for one rate, and for a map."""
    functions, mapped = OF[kind](module, False), OF[kind](module, True)
    others = {name: of for name, of in mapped.items() if of.inputs != functions[name].inputs}
    return functions | {name + MAPPED: of for name, of in others.items()}


def make_graph(function: Function, module: nn.Module) -> bytes:
    """The graph of a function, as an ONNX file.

    Args:
        module: whose weights it uses, but does not hold.

    Raises:
        ExportError: an operator that is not known.
    """
    traced = _trace(function)
    names = {tensor.data_ptr(): name for name, tensor in module.state_dict(keep_vars=True).items()}
    sketch, values, outputs = Sketch(), dict[fx.Node, Any](), list[str]()
    inputs = iter(function.inputs)
    for node in traced.graph.nodes:
        arguments = fx.node.map_arg(node.args, values.get)
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "get_attr":
            tensor = getattr(traced, node.target)
            name = names.get(tensor.data_ptr())
            values[node] = name or _literal(sketch, tensor)
            if name:
                sketch.weights[name] = tensor.detach().cpu().numpy()
        elif node.op == "output":
            outputs = list(arguments[0]) if isinstance(arguments[0], tuple | list) else [arguments[0]]
        elif node.target not in TORCH_ALONE:
            sketch.dtype = _dtype(node)
            named = fx.node.map_arg(node.kwargs, values.__getitem__) | _shape(node)
            values[node] = write(sketch, node.target, arguments, named)
    return _file(function, sketch, outputs)


def _trace(function: Function) -> fx.GraphModule:
    fakes = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    examples = [_example(given, fakes) for given in function.inputs.values()]
    with torch.inference_mode(False), torch.no_grad(), _plain_convolutions():
        traced = make_fx(
            lambda *given: function.call(*given),
            tracing_mode="symbolic",
            pre_dispatch=True,
            _allow_non_fake_inputs=True,
        )(*examples)
    traced.graph.eliminate_dead_code()
    return traced


def _example(given: Input, fakes: FakeTensorMode) -> Tensor:
    free = [DimDynamic.DYNAMIC if side in given.free else DimDynamic.STATIC for side in range(len(given.shape))]
    return fakes.from_tensor(torch.zeros(given.shape), symbolic_context=StatelessSymbolicContext(free))


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """What is quickest in torch is not so in other engines."""
    own = Pointwise.forward
    Pointwise.forward = nn.Conv2d.forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Pointwise.forward = own  # type: ignore[method-assign]


def _dtype(node: fx.Node) -> np.dtype[Any]:
    first = node.args[0] if node.args else None
    whole = isinstance(first, fx.Node) and getattr(first.meta.get("val"), "dtype", None) is torch.int64
    return np.dtype(np.int64 if whole else np.float32)


def _shape(node: fx.Node) -> dict[str, int]:
    """What of its input's shape an operator is to be told."""
    source = node.args[0] if node.args else None
    shape: Sequence[Any] = getattr(source.meta.get("val"), "shape", ()) if isinstance(source, fx.Node) else ()
    match node.target:
        case aten.transpose.int:
            return {"rank": len(shape)}
        case aten.pixel_unshuffle.default:
            return {"channels": int(shape[1])}
    return {}


def _literal(sketch: Sketch, tensor: Tensor) -> str:
    if tensor.numel() > LITERAL_MAX:
        raise ValueError(f"a network uses an array of {tensor.numel()} numbers that is no weight of its own")
    return sketch.constant(tensor.detach().cpu().numpy())


def _file(function: Function, sketch: Sketch, outputs: list[str]) -> bytes:
    """The ONNX file; of inputs and outputs it says what any picture has in common."""
    inputs = [_described(name, given) for name, given in function.inputs.items()]
    nodes = sketch.needed(outputs)
    used = dict.fromkeys(name for node in nodes for name in node.input)
    stored = sketch.weights
    held = {name: weight_named(stored, name) for name in used if name in stored or whole_of(name) in stored}
    given = {"", *function.inputs, *sketch.constants, *held, *(name for node in nodes for name in node.output)}
    if unknown := used.keys() - given:
        raise ExportError(f"a graph would ask for {', '.join(sorted(unknown))}, which nothing gives")
    graph = helper.make_graph(
        nodes, "nicodec", inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [*(value for name, value in sketch.constants.items() if name in used),
         *(_weight(name, array) for name, array in held.items())],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, doc_string="\n".join(held)
    )
    return model.SerializeToString()


def _described(name: str, given: Input) -> ValueInfoProto:
    sides = [f"{name}_{side}" if side in given.free else length for side, length in enumerate(given.shape)]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)


def _weight(name: str, array: Array) -> TensorProto:
    weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape)
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.append(onnx.StringStringEntryProto(key="location", value=ELSEWHERE))
    return weight
