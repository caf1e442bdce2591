"""The forms of a recurrent layer's state: a caller's, and the kernels'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels.resets import Resets
from gatewise.layers.sequences import Batch

Array = NDArray[Any]
State = Array | tuple[Array, Array]
Starts = list[tuple[Array, ...]]

__all__ = ["PARAMETER_NAMES", "Form", "Starts", "State"]

_NONE: Mapping[str, Array] = MappingProxyType({})


# What the parameter is called that holds a part of an initial state.
PARAMETER_NAMES = {"h": "initial_h", "c": "initial_c"}


class Form(NamedTuple):
    """What the state of a layer consists of.

    `features` has each part's, by its name; `states` is how many there are, one for each
    direction of each layer. A caller has an array ``(states, batch, features)`` for one
    part, and a pair of them for two; the kernels a tuple of the parts, however many.
    """

    features: dict[str, int]
    states: int

    def take(
        self, argument: str, batch: Batch, state: Any, arrays: Mapping[str, Array] = _NONE
    ) -> tuple[Array, ...]:
        """A caller's state as the kernels overwrite it.

        Where it is None, or a part of it, what counts is in `arrays`, the parameters of a
        layer that may have an initial state among them; otherwise there are zeros.

        Raises
        ------
        TypeError
            If there should be a pair, and is none.
        ValueError
            If an array has another shape.
        """
        sizes = self.features.values()
        # What most calls want, in a way that shortens the shortest of them. All parts of an
        # initial state come and go together.
        if state is None and "initial_h" not in arrays:
            return tuple([batch.zero_state(self.states, size) for size in sizes])
        if state is not None and len(sizes) == 1:
            return (batch.take_state(argument, state, self.states, *sizes),)
        parts = []
        given = self.split(argument, state)
        for (name, size), (each, part) in zip(self.features.items(), given, strict=True):
            if part is not None:
                parts.append(batch.take_state(each, part, self.states, size))
            elif (initial := arrays.get(PARAMETER_NAMES[name])) is not None:
                parts.append(batch.repeat_state(initial))
            else:
                parts.append(batch.zero_state(self.states, size))
        return tuple(parts)

    def starts(self, arrays: Mapping[str, Array], dtype: np.dtype[Any]) -> Starts:
        """What sequences start from, of a layer with these parameters.

        For every direction of every layer a vector for each part of its state.
        """
        parts: list[Array] = []
        for name, size in self.features.items():
            initial = arrays.get(PARAMETER_NAMES[name])
            zeros = np.zeros((self.states, size), dtype) if initial is None else initial
            parts.append(zeros)
        return list(zip(*parts, strict=True))

    def resets(self, batch: Batch, arrays: Mapping[str, Array]) -> Iterator[Resets] | None:
        """Which rows start anew and from what, for one direction after the other.

        None if none does.
        """
        rows = batch.resets
        if rows is None:
            return None
        return (Resets(rows, start) for start in self.starts(arrays, batch.dtype))

    def split(self, argument: str, state: Any) -> list[tuple[str, Any]]:
        """A state's parts, each with what an error calls it.

        Raises
        ------
        TypeError
            If there should be a pair, and is none.
        """
        count = len(self.features)
        if count == 1 or state is None:
            return [(argument, state)] * count
        if not isinstance(state, tuple | list) or len(state) != count:
            raise TypeError(
                f"{argument} should be a pair ({', '.join(self.features)}) of arrays, "
                f"got {_describe(state)}"
            )
        return [(f"{argument}[{i}]", part) for i, part in enumerate(state)]

    def restore(self, batch: Batch, parts: tuple[Array, ...]) -> State:
        """The kernels' state as the caller of a batch has it."""
        restored = [batch.restore_state(part) for part in parts]
        return restored[0] if len(restored) == 1 else (restored[0], restored[1])


def _describe(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return type(value).__name__
