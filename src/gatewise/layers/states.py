"""The forms of a recurrent layer's state: a caller's, and the kernels'."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.layers.sequences import Batch

Array = NDArray[Any]
State = Array | tuple[Array, Array]

__all__ = ["Form", "State"]


class Form(NamedTuple):
    """What the state of a layer consists of.

    `features` has each part's, by its name; `states` is how many there are, one for each
    direction of each layer. A caller has an array ``(states, batch, features)`` for one
    part, and a pair of them for two; the kernels a tuple of the parts, however many.
    """

    features: dict[str, int]
    states: int

    def take(self, argument: str, batch: Batch, state: Any) -> tuple[Array, ...]:
        """A caller's state as the kernels overwrite it; None stands for zeros.

        Raises
        ------
        TypeError
            If there should be a pair, and is none.
        ValueError
            If an array has another shape.
        """
        sizes = self.features.values()
        if state is None:
            return tuple([batch.zero_state(self.states, size) for size in sizes])
        if len(sizes) == 1:
            return (batch.take_state(argument, state, self.states, *sizes),)
        if not isinstance(state, tuple | list) or len(state) != len(sizes):
            raise TypeError(
                f"{argument} should be a pair ({', '.join(self.features)}) of arrays, "
                f"got {_describe(state)}"
            )
        return tuple(
            [
                batch.take_state(f"{argument}[{i}]", part, self.states, size)
                for i, (part, size) in enumerate(zip(state, sizes, strict=True))
            ]
        )

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
