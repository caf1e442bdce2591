"""What is known of a value before a model runs: whether it is a constant, and which."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import tensors
from gatewise.formats.onnx.model import Scope
from gatewise.formats.onnx.node import plain
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

    Attributes
    ----------
    room : Room
        What of that is left, also for who computes with these values.
    """

    def __init__(self, size: int) -> None:
        self.room = Room(8 * size + (1 << 20))
        self._known: dict[tuple[int, str], Array | None] = {}

    def value(self, scope: Scope, name: str, depth: int = 0) -> Array | None:
        """Return the constant of this name; None for what only a run knows.

        Neither is one known that is made in very many steps.

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
            return None
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
            outputs = evaluate(plain(source), inputs, home.opset, self.room)
        except ValueError as error:
            raise FormatError(str(error)) from error
        for output, value in zip(source.output, outputs, strict=False):
            self._known[id(home), output] = value

    def is_from_input(self, scope: Scope, name: str) -> bool:
        """Whether a value depends on what a run is given, not counting its shapes."""
        waiting, seen = [(scope, name)], set()
        while waiting:
            where, each = waiting.pop()
            if not each or (id(where), each) in seen:
                continue
            seen.add((id(where), each))
            found = where.find(each)
            if found is None:
                return True
            home, source = found
            if each not in home.initializers and source.op_type not in ("Shape", "Size"):
                waiting += [(home, inner) for inner in source.input]
        return False
