"""What a stream asks of a layer, and all that it asks.

`Streaming` answers for every layer that streams, from its `_stages` and how it advances by
a chunk; a layer of another make streams as soon as it has these four methods. What a layer
keeps from step to step is a state of its stream, also where its calls have none: a `Conv1d`
takes whole sequences, and only its stream has a history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewise.layers.parameters import Version

Array = NDArray[Any]

__all__ = ["Steps", "Streamable"]


class Steps(NamedTuple):
    """How a layer takes steps, for as long as `versions` are what its parts hold.

    `features` is how many a step of the input has: 0 for tokens, None for any number.
    `run` takes a chunk ``(batch, time, features)``, the state before it and a number of
    threads, and returns the outputs and the state after it. Where steps may start anew, it
    may be given booleans ``(batch, time)`` too, which say which do; `no_resets` says why
    none may. `stages`, of one `dtype`, tell the kernels' ``stepper`` to do the same in
    place, and faster; None if no kernel does. So many steps as `multiple` says make one of
    the output, and a chunk has a multiple.
    """

    versions: Sequence[Version]
    features: int | None
    run: Callable[..., tuple[Array, Any]]
    stages: list[tuple[Any, ...]] | None
    dtype: np.dtype[Any] | None
    multiple: int = 1
    no_resets: str | None = "resets should be None for this layer, which takes none"


class Streamable(Protocol):
    """A layer that takes one step after the other.

    Its state is an array, None, or a tuple of states.
    """

    def _stream_check(self) -> None:
        """Raise ValueError if this layer cannot stream, as it is made."""

    def _stream_state(self, name: str, state: Any, batch: int) -> Any:
        """Return `state`, or where to start for None, in arrays that nobody else has.

        Errors call it `name`. With a batch of one it may be without that axis.
        """

    def _stream_input(self, array: Array) -> Array:
        """Return a step or a chunk as numbers of the right dtype, or tokens in int64."""

    def _stream_steps(self, state: Any) -> Steps:
        """Return how to take steps from now on; stages write to the arrays of `state`."""
