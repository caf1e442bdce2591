"""A few of ONNX's operators in NumPy: those that stand around weights and recurrent nodes.

They are enough to follow what exporters do to weights before they reach a node, and to run
networks of the layers that gatewise has. Each takes the node's inputs, None where one is
left out, and gives its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.onnx.node import Node
from gatewise.formats.onnx.tensors import name_of

Array = NDArray[Any]
Inputs = Sequence[Array | None]

__all__ = ["FOLDABLE", "OPERATORS", "Room", "evaluate"]


class Room:
    """How many bytes results may still take.

    Parameters
    ----------
    nbytes
        As many as wanted if None.
    """

    def __init__(self, nbytes: int | None = None) -> None:
        self._left = nbytes

    def take(self, shape: Sequence[int], itemsize: int) -> None:
        """Take what an array of that shape needs.

        Raises
        ------
        ValueError
            If that is too much.
        """
        size = math.prod(shape) * itemsize
        if self._left is None:
            return
        self._left -= size
        if self._left < 0:
            raise ValueError(f"results should fit their room, got one of {size} bytes")


def evaluate(
    node: Node, inputs: Inputs, opset: int, room: Room | None = None
) -> tuple[Array, ...]:
    """Return what a node makes of its inputs.

    Raises
    ------
    ValueError
        If its operator is not here, or something about it is wrong.
    """
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
        raise ValueError(
            f"node should be one of {', '.join(sorted(OPERATORS))}, got {node}"
        )
    try:
        with np.errstate(all="ignore"):
            return OPERATORS[node.op_type](node, inputs, opset, room or Room())
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{node} should have fitting inputs, got: {error}") from error


def _identity(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    return (_first(inputs),)


def _constant(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    ((name, value),) = node.attributes.items()
    if name == "value":
        return (value,)
    return (np.array(value, np.float32 if "float" in name else np.int64),)


def _constant_of_shape(
    node: Node, inputs: Inputs, opset: int, room: Room
) -> tuple[Array, ...]:
    shape = _integers(inputs[0])
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    room.take(shape, value.itemsize)
    return (np.full(shape, value.reshape(()), value.dtype),)


_OLD_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}


def _cast(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    to = node.attributes["to"]
    # The first versions had the name of a number for it.
    wanted = _OLD_NAMES.get(to, to.lower()) if isinstance(to, str) else name_of(to)
    if wanted is None or wanted == "string":
        raise ValueError(f"to should be a dtype of numbers, got {to!r}")
    x, dtype = _first(inputs), np.dtype(wanted)
    room.take(x.shape, dtype.itemsize)
    return (x.astype(dtype),)


def _transpose(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    return (_first(inputs).transpose(node.attributes.get("perm")),)


def _axes(node: Node, inputs: Inputs, name: str = "axes") -> tuple[int, ...] | None:
    """An argument that was an attribute once, and is an input now."""
    if len(inputs) > 1:
        return None if inputs[1] is None else _integers(inputs[1])
    value = node.attributes.get(name)
    return None if value is None else tuple(value)


def _squeeze(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    return (_first(inputs).squeeze(_axes(node, inputs)),)


def _unsqueeze(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    axes = _axes(node, inputs)
    if axes is None:
        raise ValueError("axes should be given")
    return (np.expand_dims(_first(inputs), axes),)


def _concat(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    parts = [np.asarray(part) for part in inputs if part is not None]
    room.take([sum(part.size for part in parts)], parts[0].itemsize)
    return (np.concatenate(parts, node.attributes["axis"]),)


def _slice(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x = _first(inputs)
    given: list[Any] = [node.attributes.get(name) for name in ("starts", "ends", "axes")]
    if len(inputs) > 1:
        given = [None if part is None else _integers(part) for part in inputs[1:]]
    starts, ends, axes, strides = [*given, None, None][:4]
    index = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else axes
    strides = [1] * len(starts) if strides is None else strides
    for axis, start, end, stride in zip(axes, starts, ends, strides, strict=True):
        size = x.shape[axis]
        # Counted from the end, and no further than it, as ONNX does.
        start, end = (value + size if value < 0 else value for value in (start, end))
        lowest, highest = (0, size) if stride > 0 else (-1, size - 1)
        start = min(max(start, 0), highest)
        end = min(max(end, lowest), size)
        index[axis] = slice(start, None if end < 0 else end, stride)
    return (x[tuple(index)],)


def _split(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x, axis = _first(inputs), node.attributes.get("axis", 0)
    sizes = _axes(node, inputs, "split")
    if sizes is None:
        each = -(-x.shape[axis] // len(node.output))
        sizes = (each,) * len(node.output)
    elif sum(sizes) != x.shape[axis]:
        raise ValueError(f"split should be {x.shape[axis]} together, got {sizes}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def _reshape(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x, shape = _first(inputs), _axes(node, inputs, "shape")
    assert shape is not None
    if not node.attributes.get("allowzero", 0):
        shape = tuple(size if size else x.shape[axis] for axis, size in enumerate(shape))
    reshaped = x.reshape(shape)
    if not np.may_share_memory(reshaped, x):
        room.take(x.shape, x.itemsize)
    return (reshaped,)


def _gather(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x, indices = _first(inputs), np.asarray(inputs[1])
    axis = node.attributes.get("axis", 0)
    rest = x.size // max(x.shape[axis], 1)
    room.take([rest, indices.size], x.itemsize)
    return (np.take(x, indices.astype(np.int64, casting="safe"), axis),)


def _expand(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x = _first(inputs)
    shape = np.broadcast_shapes(x.shape, _integers(inputs[1]))
    room.take(shape, x.itemsize)
    return (np.broadcast_to(x, shape).copy(),)


def _shape(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    start, end = (node.attributes.get(name) for name in ("start", "end"))
    return (np.array(_first(inputs).shape[start:end], np.int64),)


def _binary(function: Callable[..., Any]) -> Callable[..., tuple[Array, ...]]:
    def run(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
        a, b = np.asarray(inputs[0]), np.asarray(inputs[1])
        if a.dtype != b.dtype:
            raise ValueError(f"inputs should have one dtype, got {a.dtype} and {b.dtype}")
        if "axis" in node.attributes:
            # Of the first versions, which laid axes beside one another otherwise.
            raise ValueError("axes should be matched from the last one on, got an axis")
        room.take(np.broadcast_shapes(a.shape, b.shape), a.itemsize)
        return (np.asarray(function(a, b), a.dtype),)

    return run


def _unary(function: Callable[..., Any]) -> Callable[..., tuple[Array, ...]]:
    def run(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
        x = _first(inputs)
        room.take(x.shape, x.itemsize)
        return (np.asarray(function(x), x.dtype),)

    return run


def _matmul(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    return (np.matmul(_first(inputs), np.asarray(inputs[1])),)


def _softmax(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x = _first(inputs)
    axis = node.attributes.get("axis", -1 if opset >= 13 else 1)
    rows = x
    if opset < 13:
        # All axes from that one on are one.
        rows, axis = x.reshape(math.prod(x.shape[:axis]), -1), -1
    exponentials = np.exp(rows - rows.max(axis, keepdims=True, initial=-np.inf))
    return ((exponentials / exponentials.sum(axis, keepdims=True)).reshape(x.shape),)


def _convolution(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    x, weight = _first(inputs), np.asarray(inputs[1])
    given = node.attributes
    is_plain = given.get("auto_pad", "NOTSET") == "NOTSET"
    if weight.ndim != 3 or given.get("group", 1) != 1 or not is_plain:
        raise ValueError("Conv should be over one axis and in one group")
    padded = np.pad(x, [(0, 0), (0, 0), tuple(given.get("pads", (0, 0)))])
    (stride,), (dilation,) = given.get("strides", [1]), given.get("dilations", [1])
    span = dilation * (weight.shape[2] - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, 2)
    y = np.einsum("nctk,ock->not", windows[:, :, ::stride, ::dilation], weight)
    bias = inputs[2] if len(inputs) > 2 else None
    return (y if bias is None else y + np.asarray(bias)[:, None],)


def _one_hot(node: Node, inputs: Inputs, opset: int, room: Room) -> tuple[Array, ...]:
    indices, depth = (
        np.asarray(inputs[0]).astype(np.int64),
        int(np.asarray(inputs[1]).item()),
    )
    off, on = np.asarray(inputs[2])
    wrapped = np.where(indices < 0, indices + depth, indices)
    found = np.where(wrapped[..., None] == np.arange(depth), on, off)
    return (np.moveaxis(found, -1, node.attributes.get("axis", -1)),)


def _first(inputs: Inputs) -> Array:
    if not inputs or inputs[0] is None:
        raise ValueError("the first input should be an array, got none")
    return np.asarray(inputs[0])


def _integers(value: Array | None) -> tuple[int, ...]:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"should be a list of integers, got {array.dtype} {array.shape}")
    return tuple(array.reshape(-1).tolist())


OPERATORS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _convolution,
    "Dropout": _identity,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "OneHot": _one_hot,
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x))),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Tanh": _unary(np.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
# Those that weights may have gone through: none computes much.
FOLDABLE = OPERATORS.keys() - {
    "Conv",
    "Dropout",
    "MatMul",
    "OneHot",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Tanh",
}
