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
            inputs = [self.value(home, each, depth + 1) if each else None for each in source.input]
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
        state for each sequence of a batch. An array of fewer axes stands for all that it
        can be broadcast to. None if it cannot be known, or they differ.

        Raises
        ------
        FormatError
            If something on the way cannot be computed.
        """
        value = self.value(scope, name)
        if value is not None:
            if value.ndim <= axis or not value.shape[axis]:
                return None
            first = value[(slice(None),) * axis + (slice(0, 1),)]
            return first if np.array_equal(value, np.broadcast_to(first, value.shape), equal_nan=True) else None
        found = scope.find(name)
        if found is None or name in found[0].initializers or depth > _LONGEST:
            return None
        home, source = found
        if source.domain not in ("", "ai.onnx"):
            return None
        return self._rows_of(home, plain(source), axis, depth)

    def _rows_of(self, home: Scope, node: Node, axis: int, depth: int) -> Array | None:
        if node.op_type == "ConstantOfShape":
            value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
            return value.reshape(())
        if node.op_type in ("Identity", "Cast"):
            return self.rows(home, node.input[0], axis, depth + 1)
        if node.op_type == "Expand":
            return self.rows(home, node.input[0], axis, depth + 1)
        if node.op_type in ("Slice", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Gather", "Tile"):
            # Whatever they do, of a single number they make no other.
            inner = self.rows(home, node.input[0], axis, depth + 1)
            return inner if inner is not None and inner.ndim == 0 else None
        return None
