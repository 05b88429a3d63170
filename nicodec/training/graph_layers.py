"""What torch's layers are in ONNX: convolutions, pools, shuffles and halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import helper, numpy_helper

from nicodec.errors import ExportError
from nicodec.training.graph_sketch import Sketch

aten = torch.ops.aten
END = (1 << 63) - 1  # what torch says for "to the end"


def _convolution(
    sketch: Sketch, x: str, weight: str, bias: str | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    if _pair(dilation) != [1, 1]:
        raise ExportError("convolutions with gaps are not known here")
    if groups == 1:
        x, weight = _as_onnx_orders(sketch, x, weight)
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return sketch.add("Conv", *inputs, strides=_pair(stride), pads=_pair(padding) * 2, group=groups)


def _linear(sketch: Sketch, x: str, weight: str, bias: str | None = None) -> Any:
    product = sketch.add("MatMul", x, sketch.add("Transpose", weight, perm=[1, 0]))
    return product if bias is None else sketch.add("Add", product, bias)


def _convolution_backward(
    sketch: Sketch, gradient: str, x: str, weight: str, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, extra: Any, groups: int, mask: Any,
) -> Any:  # fmt: skip
    """By what the input is to change: weights are frozen. A convolution again, with the weights the other way round."""
    if _pair(stride) != [1, 1] or transposed or list(mask[1:]) != [False, False]:
        raise ExportError("only plain convolutions have a gradient here, and only by their input")
    if groups == 1 and _pair(padding) == [0, 0]:  # 1x1
        back = sketch.add("Transpose", weight, perm=[1, 0, 2, 3])
    elif groups > 1 and _pair(padding) == [1, 1]:  # depthwise, 3x3
        back = sketch.add(
            "Slice", weight, np.array([-1, -1]), np.array([-END, -END]), np.array([2, 3]), np.array([-1, -1])
        )
    else:
        raise ExportError("only 1x1 and depthwise 3x3 convolutions have a gradient here")
    return (sketch.add("Conv", gradient, back, pads=_pair(padding) * 2, group=groups),)


def _pixel_unshuffle(sketch: Sketch, x: str, side: int, channels: int = 0) -> Any:
    """ONNX puts the place in the square before the channel, torch after."""
    order = np.arange(side**2 * channels).reshape(side**2, channels).T.ravel()
    return sketch.add("Gather", sketch.add("SpaceToDepth", x, blocksize=side), order, axis=1)


def _as_onnx_orders(sketch: Sketch, x: str, weight: str) -> tuple[str, str]:
    """What a convolution sees, and its weights: where it sees what `_pixel_unshuffle` gives, they are reordered."""
    gather = sketch.maker(x)
    made = sketch.maker(gather.input[0]) if gather is not None and gather.op_type == "Gather" else None
    if gather is None or made is None or made.op_type != "SpaceToDepth":
        return x, weight
    order = numpy_helper.to_array(sketch.constants[gather.input[1]])
    return gather.input[0], sketch.add("Gather", weight, np.argsort(order), axis=1)


def _average(sketch: Sketch, x: str, side: Any, stride: Any = None) -> Any:
    return sketch.add("AveragePool", x, kernel_shape=_pair(side), strides=_pair(stride or side))


def _largest(sketch: Sketch, x: str, side: Any, stride: Any = None, padding: Any = 0) -> Any:
    return sketch.add("MaxPool", x, kernel_shape=_pair(side), strides=_pair(stride or side), pads=_pair(padding) * 2)


def _bilinear(sketch: Sketch, x: str, size: Any, corners: bool, factors: Sequence[float] | None) -> Any:
    if corners or not factors:
        raise ExportError("bilinear maps grow by a factor here, corners not aligned")
    scales = np.array([1, 1, *factors], np.float32)
    return sketch.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def _nearest(sketch: Sketch, x: str, size: Sequence[Any], factors: Any = None) -> Any:
    """A map of vectors over maps that are a whole number of times as large."""
    leading = sketch.add("Shape", x, start=0, end=2)
    sizes = sketch.add("Concat", leading, sketch.numbers(size), axis=0)
    return sketch.add(
        "Resize", x, "", "", sizes, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _pair(value: Any) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    return [int(n) for n in value] * (1 if len(value) == 2 else 2)


def _chunk(sketch: Sketch, x: str, count: int, at: int = 0) -> Any:
    """Halves of what a convolution gives are two convolutions: that spares a copy, and a limit can join its half."""
    made, split = sketch.maker(x), {"axis": at, "num_outputs": count}
    if made is None or made.op_type != "Conv" or (count, at) != (2, 1):
        return sketch.add("Split", x, outputs=count, **split)
    attributes = {each.name: helper.get_attribute_value(each) for each in made.attribute}
    source, *weights = made.input
    if attributes["group"] > 1 or not sketch.weights.keys() >= set(weights):  # what is no weight has no half by name
        return sketch.add("Split", x, outputs=count, **split)
    halves = ([f"{name}/{half}" for name in weights] for half in range(2))
    return tuple(sketch.add("Conv", source, *names, **attributes) for names in halves)


LAYERS: dict[Any, Callable[..., Any]] = {
    aten.conv2d.default: _convolution,
    aten.linear.default: _linear,
    aten.convolution_backward.default: _convolution_backward,
    aten.pixel_unshuffle.default: _pixel_unshuffle,
    aten.avg_pool2d.default: _average,
    aten.max_pool2d.default: _largest,
    aten.upsample_bilinear2d.vec: _bilinear,
    aten.upsample_nearest2d.vec: _nearest,
    aten.chunk.default: _chunk,
}
