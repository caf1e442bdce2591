"""Values of which only the size of a batch is not known before a model runs.

Exporters repeat a state for each sequence of a batch, and then cut and turn it. All
sequences have the same one, so one of them is enough to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx.constants import Constants
from gatewise.formats.onnx.model import Scope
from gatewise.formats.onnx.node import Node, plain

Array = NDArray[Any]

__all__ = ["Rows"]

_DEEPEST = 64


class Rows:
    """Finds values of so many axes whose entries along the axis `axis` are all the same.

    They come with one entry along that axis; along others too, where an array that is
    repeated has just one.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known: dict[tuple[int, str, int, int], Array | None] = {}
        self._numbers: dict[tuple[int, str], Array | None] = {}

    def find(
        self, scope: Scope, name: str, rank: int, axis: int, depth: int = 0
    ) -> Array | None:
        """Return the value of this name; None if it is not known, or entries differ.

        Raises
        ------
        FormatError
            If something on the way cannot be computed.
        """
        key = id(scope), name, rank, axis
        if key not in self._known and depth <= _DEEPEST:
            # Until it is known: of a value that needs itself nothing is.
            self._known[key] = None
            found = self._number(scope, name, depth)
            if found is not None:
                self._known[key] = found.reshape((1,) * rank)
            else:
                self._known[key] = self._found(scope, name, rank, axis, depth)
        return self._known.get(key)

    def _found(
        self, scope: Scope, name: str, rank: int, axis: int, depth: int
    ) -> Array | None:
        value = self._constants.value(scope, name)
        if value is not None:
            return _one_of_many(value, rank, axis)
        found = self._step(scope, name)
        if found is None or found[1].op_type not in _STEPS:
            return None
        home, node = found

        def take(shape: Sequence[int], itemsize: int) -> None:
            """Make room for a result that can be larger than what it is made of."""
            try:
                self._constants.room.take(shape, itemsize)
            except ValueError as error:
                raise FormatError(f"{node}: {error}") from error

        def inner(position: int, rank: int = rank, axis: int = axis) -> Array | None:
            if position >= len(node.input):
                return None
            return self.find(home, node.input[position], rank, axis, depth + 1)

        def given(position: int, name: str) -> Any:
            """An argument that is a constant, as an input or as an attribute."""
            if position < len(node.input):
                value = self._constants.value(home, node.input[position])
                return None if value is None else value.reshape(-1).tolist()
            return node.attributes.get(name)

        try:
            return _STEPS[node.op_type](node, inner, given, take, rank, axis)
        except FormatError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError):
            # Of what makes no sense nothing is known.
            return None

    def _number(self, scope: Scope, name: str, depth: int) -> Array | None:
        """The number that all entries are, of an array of whatever shape."""
        key = id(scope), name
        if key not in self._numbers and depth <= _DEEPEST:
            self._numbers[key] = None
            value = self._constants.value(scope, name)
            found = self._step(scope, name)
            if value is not None:
                self._numbers[key] = _one_number(value)
            elif found is not None and found[1].op_type == "ConstantOfShape":
                fill = found[1].attributes.get("value", np.zeros(1, np.float32))
                self._numbers[key] = _one_number(np.asarray(fill))
            elif found is not None and found[1].op_type in _MOVES and found[1].input:
                self._numbers[key] = self._number(found[0], found[1].input[0], depth + 1)
        return self._numbers.get(key)

    def _step(self, scope: Scope, name: str) -> tuple[Scope, Node] | None:
        """The node that makes a value, and the graph that it stands in."""
        found = scope.find(name)
        if found is None or name in found[0].initializers:
            return None
        home, source = found
        known = source.op_type in _STEPS or source.op_type in _MOVES
        if source.domain not in ("", "ai.onnx") or not known:
            return None
        return home, plain(source)


def _one_of_many(value: Array, rank: int, axis: int) -> Array | None:
    if value.ndim > rank:
        return None
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    first = value.take([0], axis) if value.shape[axis] else value
    same = np.array_equal(value, np.broadcast_to(first, value.shape), equal_nan=True)
    return first if first.size and same else None


Inner = Callable[..., Array | None]
Given = Callable[[int, str], Any]
Take = Callable[[Sequence[int], int], None]


def _same(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    return inner(0)


def _slice(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    array = inner(0)
    starts, ends = given(1, "starts"), given(2, "ends")
    if array is None or starts is None or ends is None:
        return None
    axes, strides = given(3, "axes"), given(4, "steps")
    for position, value in ((3, axes), (4, strides)):
        if value is None and any(node.input[position : position + 1]):
            return None
    axes = list(range(len(starts))) if axes is None else axes
    strides = [1] * len(starts) if strides is None else strides
    for start, end, each, stride in zip(starts, ends, axes, strides, strict=False):
        # Where there is one entry for all, every part has it.
        if array.shape[each] > 1:
            index = [slice(None)] * rank
            index[each] = slice(start, end, stride)
            array = array[tuple(index)]
    return array if array.size else None


def _transpose(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    axes = node.attributes.get("perm", list(range(rank))[::-1])
    if sorted(axes) != list(range(rank)):
        return None
    array = inner(0, axis=axes[axis])
    return None if array is None else array.transpose(axes)


def _unsqueeze(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    axes = given(1, "axes")
    array = inner(0, rank=rank - 1, axis=axis - 1) if axes == [0] and axis else None
    return None if array is None else array[None]


def _concat(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    along = node.attributes.get("axis", 0) % rank
    parts = [inner(position) for position in range(len(node.input))]
    known = [part for part in parts if part is not None]
    shapes = {part.shape[:along] + part.shape[along + 1 :] for part in known}
    if along == axis or len(known) < len(parts) or len(shapes) != 1:
        return None
    take([sum(part.size for part in known)], known[0].itemsize)
    return np.concatenate(known, along)


def _product(
    node: Node, inner: Inner, given: Given, take: Take, rank: int, axis: int
) -> Array | None:
    a, b = inner(0), inner(1)
    if a is None or b is None:
        return None
    take(np.broadcast_shapes(a.shape, b.shape), max(a.itemsize, b.itemsize))
    with np.errstate(all="ignore"):
        return np.asarray(a * b)


def _one_number(value: Array) -> Array | None:
    same = value.size and np.array_equal(value, np.broadcast_to(value.flat[0], value.shape))
    return value.reshape(-1)[:1] if same else None


_STEPS: dict[str, Callable[..., Array | None]] = {
    "Cast": _same,
    "Concat": _concat,
    "Expand": _same,
    "Identity": _same,
    "Mul": _product,
    "Slice": _slice,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
# Whatever these do to the places of one number, it stays that number.
_MOVES = {
    "Cast",
    "ConstantOfShape",
    "Expand",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
