"""Layers one after another, as one layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import _threads
from gatewise.layers.module import (
    Feedforward,
    Gradients,
    Module,
    ModuleTape,
    Stateful,
    check_tape,
)

Array = NDArray[Any]
States = tuple[Any, ...]


class SequentialTape(ModuleTape):
    """Holds the tapes of the layers in it."""

    def __init__(self, module: Module, tapes: list[Any]) -> None:
        super().__init__(module)
        self.tapes = tapes


class Sequential(Stateful):
    """Layers one after another, each reading the output of the one before.

    Parameters have the name of their parameter in the layer after the layer's position, as
    in ``"1.weight_ih_l0"``. The state is a tuple with one entry for each layer, None for
    those that have no state.

    Parameters
    ----------
    layers
        Layers of this package; a Sequential too is one.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> model = gatewise.Sequential(
    ...     gatewise.Embedding(10, 4), gatewise.GRU(4, 8), gatewise.Linear(8, 10)
    ... )
    >>> y, state = model(np.array([[1, 2, 3], [4, 5, 0]]), lengths=[3, 2])
    >>> y.shape, [None if part is None else part.shape for part in state]
    ((2, 3, 10), [None, (1, 2, 8), None])
    """

    def __init__(self, *layers: Module) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Feedforward | Stateful):
                kind = type(layer).__name__
                raise TypeError(f"layers[{position}] should be a layer, got {kind}")
        if not layers:
            raise ValueError("layers should be at least one layer, got none")
        # Each layer answers in its own dtype, so the last one's is that of the outputs.
        super().__init__(layers[-1].dtype)
        self.layers: tuple[Feedforward | Stateful, ...] = layers  # type: ignore[assignment]

    def parameters(self) -> dict[str, Array]:
        """Return the layers' parameters by name, as read-only views."""
        return {
            f"{position}.{name}": array
            for position, layer in enumerate(self.layers)
            for name, array in layer.parameters().items()
        }

    def _write(self, values: Mapping[str, Array]) -> None:
        for position, layer in enumerate(self.layers):
            prefix = f"{position}."
            own = {
                k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)
            }
            if own:
                layer._write(own)
        self._version += 1

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, States]:
        """Return the last layer's output for `x`, and every layer's final state.

        Parameters
        ----------
        x
            What the first layer takes.
        state
            Every layer's initial state; zeros if None.
        lengths
            How many steps of each sequence exist, for the layers that have a state.
        num_threads
            How many threads the layers may use; as `gatewise.set_num_threads` says if None.
        """
        threads = _threads.resolve(num_threads)
        states = []
        value: Any = x
        for layer, initial in zip(self.layers, self._initial("state", state), strict=True):
            final = None
            if isinstance(layer, Stateful):
                value, final = layer(value, initial, lengths=lengths, num_threads=threads)
            else:
                value = layer(value, num_threads=threads)
            states.append(final)
        return value, tuple(states)

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, States, SequentialTape]:
        """Return outputs and final states, as in training, and a tape for `backward`."""
        threads = _threads.resolve(num_threads)
        states, tapes = [], []
        value: Any = x
        for layer, initial in zip(self.layers, self._initial("state", state), strict=True):
            final = None
            if isinstance(layer, Stateful):
                value, final, tape = layer.forward(
                    value, initial, lengths=lengths, num_threads=threads
                )
            else:
                value, tape = layer.forward(value, num_threads=threads)
            states.append(final)
            tapes.append(tape)
        return value, tuple(states), SequentialTape(self, tapes)

    def backward(
        self,
        tape: SequentialTape,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, States, Gradients]:
        """Return the gradients of `x`, of the initial states and of the parameters."""
        check_tape(tape, SequentialTape, self)
        threads = _threads.resolve(num_threads)
        dfinals = self._initial("dstate", dstate)
        dinitials: list[Any] = []
        gradients: Gradients = {}
        dvalue: Any = dy
        for position in reversed(range(len(self.layers))):
            layer, own = self.layers[position], tape.tapes[position]
            dinitial = None
            if isinstance(layer, Stateful):
                dvalue, dinitial, found = layer.backward(
                    own, dvalue, dfinals[position], num_threads=threads
                )
            else:
                if dvalue is None:
                    raise ValueError(
                        f"dy should be an array: layers[{position}] has no state, got None"
                    )
                dvalue, found = layer.backward(own, dvalue, num_threads=threads)
            dinitials.insert(0, dinitial)
            gradients = {f"{position}.{k}": v for k, v in found.items()} | gradients
        return dvalue, tuple(dinitials), gradients

    def _initial(self, name: str, state: Any) -> States:
        if state is None:
            return (None,) * len(self.layers)
        if isinstance(state, np.ndarray) or not isinstance(state, tuple | list):
            kind = type(state).__name__
            raise TypeError(
                f"{name} should be a tuple with one entry for each layer, got {kind}"
            )
        if len(state) != len(self.layers):
            raise ValueError(
                f"{name} should have {len(self.layers)} entries, one for each layer, "
                f"got {len(state)}"
            )
        return tuple(state)

    def _sizes(self) -> str:
        return ", ".join(layer._description() for layer in self.layers)

    def _description(self) -> str:
        return f"Sequential({self._sizes()})"
