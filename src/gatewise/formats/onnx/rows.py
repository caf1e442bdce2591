"""Values of which only the size of a batch is not known before a model runs.

Exporters repeat a state for each sequence of a batch, and then cut and turn it. All
sequences have the same one, so one of them is enough to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx.constants import Constants
from gatewise.formats.onnx.model import Scope
from gatewise.formats.onnx.node import Node, plain

Array = NDArray[Any]

__all__ = ["Rows"]

_DEEPEST = 64


class _Row(NamedTuple):
    """One entry of a value along its axis of the batch.

    Other axes have one entry too where all of theirs are the same; those that `exact` has
    are as long as they are in the model.
    """

    array: Array
    exact: frozenset[int]


class Rows:
    """Finds values of so many axes whose entries along the axis `axis` are all the same.

    They come with one entry along that axis; along others too, where an array that is
    repeated has just one.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known: dict[tuple[int, str, int, int, bool], _Row | None] = {}
        self._numbers: dict[tuple[int, str], Array | None] = {}
        self._lists: dict[tuple[int, str, int], list[int | None]] = {}

    def find(self, scope: Scope, name: str, rank: int, axis: int) -> Array | None:
        """Return the value of this name; None if it is not known, or entries differ.

        Raises
        ------
        FormatError
            If something on the way cannot be computed.
        """
        row = self._row(scope, name, rank, axis, True, 0)
        return None if row is None else row.array

    def _row(
        self, scope: Scope, name: str, rank: int, axis: int, is_sure: bool, depth: int
    ) -> _Row | None:
        """What `find` looks for; unless `is_sure` the value may have fewer axes."""
        key = id(scope), name, rank, axis, is_sure
        if key not in self._known and depth <= _DEEPEST:
            # Until it is known: of a value that needs itself nothing is.
            self._known[key] = None
            found = self._number(scope, name, depth)
            if found is not None:
                self._known[key] = _Row(found.reshape((1,) * rank), frozenset())
            else:
                self._known[key] = self._found(scope, name, rank, axis, is_sure, depth)
        return self._known.get(key)

    def _found(
        self, scope: Scope, name: str, rank: int, axis: int, is_sure: bool, depth: int
    ) -> _Row | None:
        value = self._constants.value(scope, name)
        if value is not None:
            return _one_of_many(value, rank, axis)
        found = self._step(scope, name)
        if found is None or found[1].op_type not in _STEPS:
            return None
        home, node = found
        if not is_sure and node.op_type in _WITH_AXES:
            return None
        try:
            return _STEPS[node.op_type](_Step(self, home, node, rank, axis, is_sure, depth))
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

    def _list(self, scope: Scope, name: str, count: int, depth: int) -> list[int | None]:
        """What is known of a list of so many whole numbers."""
        key, unknown = (id(scope), name, count), [None] * count
        if key not in self._lists and depth <= _DEEPEST:
            self._lists[key] = [*unknown]
            value, found = self._constants.value(scope, name), self._step(scope, name)
            number = self._number(scope, name, depth)
            if value is not None and value.size == count:
                self._lists[key] = [int(each) for each in value.flat]
            elif number is not None:
                self._lists[key] = [int(number[0])] * count
            elif found is not None and found[1].op_type == "Concat":
                self._lists[key] = self._listed(found[0], found[1].input, count)
            elif found is not None and found[1].op_type == "Where":
                one, other = (
                    self._list(found[0], each, count, depth + 1)
                    for each in found[1].input[1:]
                )
                self._lists[key] = [
                    a if a == b else None for a, b in zip(one, other, strict=True)
                ]
            elif found is not None and found[1].op_type in _SAME and found[1].input:
                inner = found[1].input[0]
                self._lists[key] = self._list(found[0], inner, count, depth + 1)
        return self._lists.get(key) or [*unknown]

    def _listed(self, home: Scope, names: Iterable[str], count: int) -> list[int | None]:
        """The entries of lists one after the other, each of one number if not known."""
        listed: list[int | None] = []
        for name in names:
            value = self._constants.value(home, name)
            listed += [None] if value is None else [int(each) for each in value.flat]
        return listed if len(listed) == count else [None] * count

    def _step(self, scope: Scope, name: str) -> tuple[Scope, Node] | None:
        """The node that makes a value, and the graph that it stands in."""
        found = scope.find(name)
        if found is None or name in found[0].initializers:
            return None
        home, source = found
        if source.domain not in ("", "ai.onnx") or source.op_type not in _FOLLOWED:
            return None
        return home, plain(source)


class _Step(NamedTuple):
    """A node on the way to a value, and what is asked of it."""

    rows: Rows
    home: Scope
    node: Node
    rank: int
    axis: int
    is_sure: bool
    depth: int

    def inner(self, position: int, **changes: Any) -> _Row | None:
        """What an input of the node is; of as many axes, unless `changes` say more."""
        if position >= len(self.node.input):
            return None
        rank, axis, is_sure = (
            changes.get(name, getattr(self, name)) for name in ("rank", "axis", "is_sure")
        )
        name = self.node.input[position]
        return self.rows._row(self.home, name, rank, axis, is_sure, self.depth + 1)

    def constant(self, position: int) -> Array | None:
        """An input that is a constant."""
        if position >= len(self.node.input):
            return None
        return self.rows._constants.value(self.home, self.node.input[position])

    def given(self, position: int, name: str) -> Any:
        """An argument that is a constant, as an input or as an attribute."""
        if position < len(self.node.input):
            value = self.constant(position)
            return None if value is None else value.reshape(-1).tolist()
        return self.node.attributes.get(name)

    def sizes(self) -> list[int | None]:
        """What is known of the second input, which has a number for each axis."""
        name = self.node.input[1]
        return self.rows._list(self.home, name, self.rank, self.depth + 1)

    def take(self, shape: Sequence[int], itemsize: int) -> None:
        """Make room for a result that can be larger than what it is made of."""
        try:
            self.rows._constants.room.take(shape, itemsize)
        except ValueError as error:
            raise FormatError(f"{self.node}: {error}") from error


def _one_of_many(value: Array, rank: int, axis: int) -> _Row | None:
    if value.ndim > rank:
        return None
    exact = frozenset(range(rank - value.ndim, rank))
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    first = value.take([0], axis) if value.shape[axis] else value
    same = np.array_equal(value, np.broadcast_to(first, value.shape), equal_nan=True)
    return _Row(first, exact) if first.size and same else None


def _same(step: _Step) -> _Row | None:
    return step.inner(0)


def _expand(step: _Step) -> _Row | None:
    row = step.inner(0, is_sure=False)
    if row is None:
        return None
    exact = {axis for axis, size in enumerate(row.array.shape) if size > 1}
    # Where there is one, and no more are wanted, there is one still.
    exact |= {axis for axis, size in enumerate(step.sizes()) if size in (1, -1)} & row.exact
    return _Row(row.array, frozenset(exact))


def _tile(step: _Step) -> _Row | None:
    row = step.inner(0)
    if row is None:
        return None
    array, exact = row.array, set(row.exact)
    for axis, count in enumerate(step.sizes()):
        if axis == step.axis or count == 1:
            continue
        if array.shape[axis] == 1:
            exact.discard(axis)
        elif count is None or count < 1:
            return None
        else:
            step.take([array.size, count], array.itemsize)
            array = np.concatenate([array] * count, axis)
    return _Row(array, frozenset(exact))


def _slice(step: _Step) -> _Row | None:
    row = step.inner(0)
    starts, ends = step.given(1, "starts"), step.given(2, "ends")
    if row is None or starts is None or ends is None:
        return None
    axes, strides = step.given(3, "axes"), step.given(4, "steps")
    for position, value in ((3, axes), (4, strides)):
        if value is None and any(step.node.input[position : position + 1]):
            return None
    axes = list(range(len(starts))) if axes is None else axes
    strides = [1] * len(starts) if strides is None else strides
    array = row.array
    for start, end, each, stride in zip(starts, ends, axes, strides, strict=False):
        # Where there is one entry for all, every part has it.
        if array.shape[each] > 1:
            index = [slice(None)] * step.rank
            index[each] = slice(start, end, stride)
            array = array[tuple(index)]
    return _Row(array, row.exact) if array.size else None


def _transpose(step: _Step) -> _Row | None:
    axes = step.node.attributes.get("perm", list(range(step.rank))[::-1])
    if sorted(axes) != list(range(step.rank)):
        return None
    row = step.inner(0, axis=axes[step.axis])
    if row is None:
        return None
    exact = frozenset(place for place, axis in enumerate(axes) if axis in row.exact)
    return _Row(row.array.transpose(axes), exact)


def _unsqueeze(step: _Step) -> _Row | None:
    if step.given(1, "axes") != [0] or not step.axis:
        return None
    row = step.inner(0, rank=step.rank - 1, axis=step.axis - 1)
    if row is None:
        return None
    return _Row(row.array[None], frozenset({0, *(axis + 1 for axis in row.exact)}))


def _concat(step: _Step) -> _Row | None:
    along = step.node.attributes.get("axis", 0) % step.rank
    parts = [step.inner(position) for position in range(len(step.node.input))]
    known = [part for part in parts if part is not None]
    shapes = {part.array.shape[:along] + part.array.shape[along + 1 :] for part in known}
    if along == step.axis or len(known) < len(parts) or len(shapes) != 1:
        return None
    if not all(along in part.exact for part in known):
        return None
    step.take([sum(part.array.size for part in known)], known[0].array.itemsize)
    exact = frozenset.intersection(*(part.exact for part in known))
    return _Row(np.concatenate([part.array for part in known], along), exact)


def _both(function: Callable[..., Any]) -> Callable[[_Step], _Row | None]:
    def run(step: _Step) -> _Row | None:
        given = [step.constant(position) for position in (0, 1)]
        # One of them has all axes that the result has.
        sure = [
            step.is_sure and other is not None and other.ndim < step.rank
            for other in given[::-1]
        ]
        a, b = (step.inner(position, is_sure=sure[position]) for position in (0, 1))
        if a is None or b is None:
            return None
        itemsize = max(a.array.itemsize, b.array.itemsize)
        step.take(np.broadcast_shapes(a.array.shape, b.array.shape), itemsize)
        with np.errstate(all="ignore"):
            found = np.asarray(function(a.array, b.array))
        longer = {axis for axis, size in enumerate(found.shape) if size > 1}
        return _Row(found, frozenset(longer | (a.exact & b.exact)))

    return run


def _one_number(value: Array) -> Array | None:
    same = value.size and np.array_equal(value, np.broadcast_to(value.flat[0], value.shape))
    return value.reshape(-1)[:1] if same else None


_STEPS: dict[str, Callable[[_Step], _Row | None]] = {
    "Add": _both(np.add),
    "Cast": _same,
    "Concat": _concat,
    "Expand": _expand,
    "Identity": _same,
    "Mul": _both(np.multiply),
    "Slice": _slice,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
# What these say of axes means those that their input has.
_WITH_AXES = {"Concat", "Slice", "Tile", "Transpose", "Unsqueeze"}
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
# A list stays the list that it is.
_SAME = {"Cast", "Identity", "Reshape"}
_FOLLOWED = _STEPS.keys() | _MOVES | {"Where"}
