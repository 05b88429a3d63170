"""What torch's operators are in ONNX: those that our networks, and their gradients, are made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper

from nicodec.errors import ExportError
from nicodec.training.graph_layers import END, LAYERS
from nicodec.training.graph_sketch import Sketch

aten = torch.ops.aten
HUGE = np.float32(1e30)


Write = Callable[..., Any]
OPERATORS: dict[Any, Write] = dict(LAYERS)


def writes(*targets: Any) -> Callable[[Write], Write]:
    """Register what writes some of torch's operators: called with a `Sketch` and their arguments."""

    def registered(function: Write) -> Write:
        OPERATORS.update(dict.fromkeys(targets, function))
        return function

    return registered


def write(sketch: Sketch, target: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The nodes of one call of torch's; what it gives, as in `Sketch`.

    Raises:
        ExportError: an operator that is not known here.
    """
    if target not in OPERATORS:
        raise ExportError(f"no graph can be made of a network with {target}: add it to nicodec.training.graph_ops")
    return OPERATORS[target](sketch, *arguments, **named)


def _direct(kind: str) -> Write:
    return lambda s, *x: s.add(kind, *x)


OPERATORS |= {
    aten.div.Tensor: lambda s, x, y: s.add("Div", x, s.number(y)),
    aten.mul.Tensor: lambda s, x, y: s.add("Mul", x, s.number(y)),
    aten.mul.Scalar: lambda s, x, y: s.add("Mul", x, s.number(y)),
    aten.rsub.Scalar: lambda s, x, y: s.add("Sub", s.number(y), x),
    aten.gt.Scalar: lambda s, x, y: s.add("Greater", x, s.number(y)),
    aten.lt.Scalar: lambda s, x, y: s.add("Less", x, s.number(y)),
    aten.ge.Scalar: lambda s, x, y: s.add("GreaterOrEqual", x, s.number(y)),
    aten.le.Scalar: lambda s, x, y: s.add("LessOrEqual", x, s.number(y)),
    aten.square.default: lambda s, x: s.add("Mul", x, x),
    aten.sigmoid.default: _direct("Sigmoid"),
    aten.exp.default: _direct("Exp"),
    aten.floor.default: _direct("Floor"),
    aten.neg.default: _direct("Neg"),
    aten.sqrt.default: _direct("Sqrt"),
    aten.rsqrt.default: lambda s, x: s.add("Reciprocal", s.add("Sqrt", x)),
    aten.reciprocal.default: _direct("Reciprocal"),
    aten.logical_and.default: _direct("And"),
    aten.logical_and_.default: _direct("And"),
    aten.matmul.default: _direct("MatMul"),
    aten.bmm.default: _direct("MatMul"),
    aten.mm.default: _direct("MatMul"),
    aten.unsqueeze.default: lambda s, x, at: s.add("Unsqueeze", x, np.array([at])),
    aten.squeeze.dim: lambda s, x, at: s.add("Squeeze", x, np.array([at])),
    aten.permute.default: lambda s, x, order: s.add("Transpose", x, perm=order),
    aten.numpy_T.default: lambda s, x: s.add("Transpose", x),
    aten.t.default: lambda s, x: s.add("Transpose", x),
    aten.expand.default: lambda s, x, shape: s.add("Expand", x, s.numbers([1 if n == -1 else n for n in shape])),
    aten.cat.default: lambda s, parts, at=0: s.add("Concat", *parts, axis=at),
    aten.softmax.int: lambda s, x, at, dtype=None: s.add("Softmax", x, axis=at),
    aten.embedding.default: lambda s, table, at: s.add("Gather", table, at, axis=0),
    aten.select.int: lambda s, x, at, index: s.add("Gather", x, np.int64(index), axis=at),
    aten.pixel_shuffle.default: lambda s, x, side: s.add("DepthToSpace", x, blocksize=side, mode="CRD"),
    aten.leaky_relu.default: lambda s, x, slope=0.01: s.add("LeakyRelu", x, alpha=slope),
    aten.scalar_tensor.default: lambda s, value, **_: s.constant(np.float32(value)),
    operator.getitem: lambda s, parts, at: parts[at],
    operator.add: lambda s, x, y: s.whole("Add", x, y),
    operator.sub: lambda s, x, y: s.whole("Sub", x, y),
    operator.mul: lambda s, x, y: s.whole("Mul", x, y),
    operator.floordiv: lambda s, x, y: s.whole("Div", x, y),
    torch.sym_sum: lambda s, parts: s.whole("Sum", *parts),
}  # fmt: skip


@writes(
    aten.contiguous.default, aten.clone.default, aten.detach.default, aten.alias.default, aten._to_copy.default,
    aten.to.dtype, aten.lift_fresh_copy.default,
)  # fmt: skip
def _same(sketch: Sketch, x: str, dtype: torch.dtype | None = None, *_: Any, **named: Any) -> Any:
    """Only whole numbers become another type here: all floats are float32."""
    return sketch.add("Cast", x, to=TensorProto.INT64) if dtype is torch.int64 else x


def _signed(kind: str) -> Write:
    def written(sketch: Sketch, x: str, y: Any, alpha: float = 1) -> Any:
        return sketch.add(
            kind, x, sketch.number(y) if alpha == 1 else sketch.add("Mul", sketch.number(y), sketch.number(alpha))
        )

    return written


OPERATORS |= {
    aten.add.Tensor: _signed("Add"), aten.add.Scalar: _signed("Add"), aten.sub.Tensor: _signed("Sub"),
}  # fmt: skip


@writes(aten.pow.Tensor_Scalar)
def _power(sketch: Sketch, x: str, exponent: float) -> Any:
    return x if exponent == 1 else sketch.add("Pow", x, sketch.number(exponent))


@writes(aten.clamp.default, aten.clamp_min.default)
def _clamp(sketch: Sketch, x: str, low: float | None = None, high: float | None = None) -> Any:
    return sketch.add("Clip", x, "" if low is None else sketch.number(low), "" if high is None else sketch.number(high))


@writes(aten.nan_to_num.default)
def _finite(
    sketch: Sketch, x: str, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Any:
    largest = float(np.finfo(np.float32).max)
    for infinity, put in (
        (np.inf, largest if posinf is None else posinf),
        (-np.inf, -largest if neginf is None else neginf),
    ):
        x = sketch.add("Where", sketch.add("Equal", x, np.float32(infinity)), np.float32(put), x)
    return sketch.add("Where", sketch.add("IsNaN", x), np.float32(nan or 0.0), x)


@writes(aten.where.self, aten.where.ScalarOther)
def _where(sketch: Sketch, test: str, x: Any, y: Any) -> Any:
    """Where torch gives an array of zeros for y, as gradients of limits do, a product: onnxruntime takes five times as
    long for Where. (A number 0 asks for the operator itself, which keeps out what is not finite.)
    """
    y = sketch.number(y)
    zeros = sketch.constants.get(y) if isinstance(x, str) and isinstance(y, str) else None
    if zeros is not None and sketch.dtype == np.float32 and not numpy_helper.to_array(zeros).any():
        return sketch.add("Mul", x, sketch.add("Cast", test, to=TensorProto.FLOAT))
    return sketch.add("Where", test, sketch.number(x), y)


@writes(aten.asinh.default)
def _asinh(sketch: Sketch, x: str) -> Any:
    """sign(x) · log(|x| + sqrt(x² + 1)), to 1e-7: onnxruntime's own Asinh takes five times as long."""
    root = sketch.add("Sqrt", sketch.add("Add", sketch.add("Mul", x, x), np.float32(1)))
    size = sketch.add("Log", sketch.add("Add", sketch.add("Abs", x), root))
    return sketch.add("Mul", _sign(sketch, x, -1), size)


def _sign(sketch: Sketch, x: str, negative: float) -> str:
    """1 where x is positive, `negative` where it is negative, unless it is smaller than any float32 that counts:
    onnxruntime's own Sign takes three times as long.
    """
    return str(sketch.add("Clip", sketch.add("Mul", x, HUGE), np.float32(negative), np.float32(1)))


@writes(aten.leaky_relu_backward.default)
def _leaky_relu_backward(sketch: Sketch, gradient: str, x: str, slope: float, is_result: bool) -> Any:
    return sketch.add("Mul", gradient, _sign(sketch, x, slope))


@writes(aten.ones_like.default)
def _ones(sketch: Sketch, x: str, **_: Any) -> Any:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    return sketch.add("ConstantOfShape", sketch.add("Shape", x), value=one)


@writes(aten.sym_size.int)
def _size(sketch: Sketch, x: str, at: int) -> Any:
    return sketch.add("Shape", x, start=at, end=at + 1)


@writes(aten.view.default, aten.reshape.default, aten._unsafe_view.default)
def _reshape(sketch: Sketch, x: str, shape: Sequence[Any]) -> Any:
    return sketch.add("Reshape", x, sketch.numbers(shape))


@writes(aten.flatten.using_ints)
def _flatten(sketch: Sketch, x: str, start: int = 0, end: int = -1) -> Any:
    if end != -1:
        raise ExportError("only flattening up to the last side is known")
    return sketch.add("Reshape", x, np.array([0] * start + [-1]))


@writes(aten.transpose.int)
def _transpose(sketch: Sketch, x: str, first: int, second: int, rank: int = 0) -> Any:
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return sketch.add("Transpose", x, perm=order)


@writes(aten.slice.Tensor)
def _slice(sketch: Sketch, x: str, at: int = 0, start: Any = 0, stop: Any = END, step: int = 1) -> Any:
    start, stop = 0 if start is None else start, END if stop is None else stop
    return sketch.add("Slice", x, sketch.numbers([start]), sketch.numbers([stop]), np.array([at]), np.array([step]))


@writes(aten.narrow.default)
def _narrow(sketch: Sketch, x: str, at: int, start: Any, length: Any) -> Any:
    numbers = isinstance(start, int) and isinstance(length, int)
    return _slice(sketch, x, at, start, start + length if numbers else sketch.whole("Add", start, length))


@writes(aten.slice_backward.default)
def _slice_backward(
    sketch: Sketch, gradient: str, shape: Sequence[Any], at: int, start: int, stop: int, step: int
) -> Any:
    def left(edge: int) -> Any:
        """How much of the side is beyond `edge`, counted from its start."""
        return shape[at] - edge if isinstance(shape[at], int) else sketch.whole("Sub", shape[at], edge)

    if step != 1:
        raise ExportError("slices with steps have no gradient here")
    before = start if start >= 0 else left(-start)
    after = 0 if stop == END else -stop if stop < 0 else left(stop)
    return sketch.add("Pad", gradient, sketch.numbers([before, after]), np.float32(0), np.array([at]))


@writes(aten.index.Tensor)
def _index(sketch: Sketch, table: str, at: Sequence[str]) -> Any:
    if len(at) != 1:
        raise ExportError("tables are read by one index here")
    return sketch.add("Gather", table, at[0], axis=0)


def _reduced(kind: str) -> Write:
    def written(sketch: Sketch, x: str, at: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Any:
        axes = [] if at is None else [np.array(at, np.int64)]
        return sketch.add(kind, x, *axes, keepdims=int(keepdim))

    return written


OPERATORS |= dict.fromkeys((aten.sum.default, aten.sum.dim_IntList), _reduced("ReduceSum"))
OPERATORS |= dict.fromkeys((aten.mean.default, aten.mean.dim), _reduced("ReduceMean"))
