"""What is known of a value before a model runs: a constant, or the rows it consists of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import tensors
from gatewise.formats.onnx.model import Scope
from gatewise.formats.onnx.node import Node, plain
from gatewise.formats.onnx.operators import FOLDABLE, Room, evaluate

Array = NDArray[Any]

__all__ = ["Constants"]

_LONGEST = 64


class Constants:
    """The values of a model that only its own tensors decide.

    Parameters
    ----------
    size
        The bytes of the model; what is computed may take some times as many.
    """

    def __init__(self, size: int) -> None:
        self._room = Room(8 * size + (1 << 20))
        self._known: dict[tuple[int, str], Array | None] = {}

    def value(self, scope: Scope, name: str, depth: int = 0) -> Array | None:
        """Return the constant of this name; None for what only a run knows.

        Raises
        ------
        FormatError
            If there is one that cannot be computed.
        """
        found = scope.find(name)
        if found is None:
            return None
        home, source = found
        key = id(home), name
        if key in self._known:
            return self._known[key]
        if depth > _LONGEST:
            raise FormatError(
                f"{name!r} should be made in at most {_LONGEST} steps, got more"
            )
        # Until it is known: of a value that needs itself nothing is.
        self._known[key] = None
        if name in home.initializers:
            self._known[key] = tensors.read(source, name)
        elif source.op_type in FOLDABLE and source.domain in ("", "ai.onnx"):
            inputs = [
                self.value(home, each, depth + 1) if each else None for each in source.input
            ]
            if all(
                value is not None or not each
                for each, value in zip(source.input, inputs, strict=True)
            ):
                self._keep(home, source, inputs)
        return self._known[key]

    def _keep(self, home: Scope, source: Any, inputs: list[Array | None]) -> None:
        try:
            outputs = evaluate(plain(source), inputs, home.opset, self._room)
        except ValueError as error:
            raise FormatError(str(error)) from error
        for output, value in zip(source.output, outputs, strict=False):
            self._known[id(home), output] = value

    def rows(self, scope: Scope, name: str, axis: int, depth: int = 0) -> Array | None:
        """Return a value with one entry along `axis`, if all entries there are the same.

        That can be known where the size of that axis is not, as where exporters repeat a
        state for each sequence of a batch. `axis` counts from the end; an array of fewer
        axes stands for all that it can be broadcast to. None if it cannot be known, or they
        differ.

        Raises
        ------
        FormatError
            If something on the way cannot be computed.
        """
        value = self.value(scope, name)
        if value is not None:
            return _one_of_many(value, axis)
        found = scope.find(name)
        if found is None or depth > _LONGEST:
            return None
        home, source = found
        if source.domain not in ("", "ai.onnx") or source.op_type not in _REPEATING:
            return None
        node = plain(source)
        if node.op_type == "ConstantOfShape":
            return np.asarray(node.attributes.get("value", np.float32(0))).reshape(())
        inner = self.rows(home, node.input[0], axis, depth + 1) if node.input else None
        if inner is None or node.op_type in ("Identity", "Cast", "Expand"):
            return inner
        if node.op_type == "Unsqueeze" and self._axes(home, node) == [0]:
            # Counted from the end, the axes stay what they were.
            return inner
        # Whatever the others do, of one number they make no other.
        return inner.reshape(-1)[0] if inner.size and np.ptp(inner) == 0 else None

    def _axes(self, home: Scope, node: Node) -> list[int]:
        if len(node.input) > 1:
            value = self.value(home, node.input[1])
            return [] if value is None else value.reshape(-1).tolist()
        return list(node.attributes.get("axes", []))


# What a state may go through on its way to a node without becoming another.
_REPEATING = {
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


def _one_of_many(value: Array, axis: int) -> Array | None:
    if value.ndim < -axis:
        return value
    first = value.take([0], axis) if value.shape[axis] else value
    same = np.array_equal(value, np.broadcast_to(first, value.shape), equal_nan=True)
    return first if first.size and same else None
