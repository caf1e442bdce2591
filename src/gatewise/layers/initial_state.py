"""The state that a recurrent layer starts from where it is given none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import cells
from gatewise.layers import inputs, parameters
from gatewise.layers.module import Gradients
from gatewise.layers.recurrent_weights import RecurrentWeights
from gatewise.layers.states import PARAMETER_NAMES, Form

Array = NDArray[Any]

__all__ = ["InitialState"]


class InitialState(RecurrentWeights):
    """A recurrent layer that can have an initial state among its parameters."""

    def _initialise(self) -> None:
        super()._initialise()
        names = cells.look_up(self._cell).states
        features = dict(zip(names, (self.output_size, self.hidden_size), strict=False))
        self._state_form = Form(features, self.num_layers * self._directions)
        if self.learn_initial_state:
            self._add_initial_state()

    def _add_initial_state(self) -> None:
        """Have the parameters of an initial state, as a layer that is being made."""
        for name, shape in self._initial_shapes().items():
            self._add_parameter(name, shape, np.zeros)

    def _initial_shapes(self) -> dict[str, tuple[int, int]]:
        """The shapes of the initial state's parameters, by their names."""
        form = self._state_form
        return {
            PARAMETER_NAMES[part]: (form.states, size)
            for part, size in form.features.items()
        }

    @property
    def initial_state(self) -> Any:
        """What the layer starts from where it is given no state; None for zeros.

        For an RNN or a GRU an array ``(num_layers * D, H)`` with what a state has for each
        sequence; D is 2 for two directions, else 1, and H the size of one direction's
        output. For an LSTM a pair of h, of that shape, and c, ``(num_layers * D,
        hidden_size)``. It makes no difference what kind of call it is: one with or
        without a batch or lengths, a training pass, or a stream, which starts from here
        and comes back on ``reset()``. A stream that is under way stays where it is.

        Reading gives read-only arrays, or None. Setting copies the arrays and makes them
        parameters, ``initial_h`` and for an LSTM ``initial_c``, in one step like all
        changes of parameters; None takes these away, unless the layer was made with
        ``learn_initial_state=True``.

        Raises
        ------
        TypeError
            When set, if it is no pair for an LSTM, or holds no real numbers.
        ValueError
            When set, if a shape does not fit, or it is None for a layer that learns it.

        Examples
        --------
        >>> import numpy as np, gatewise
        >>> layer = gatewise.GRU(3, 4, seed=0)
        >>> layer.initial_state = np.full((1, 4), 0.5)
        >>> x, state = np.ones((2, 5, 3)), np.full((1, 2, 4), 0.5)
        >>> bool((layer(x)[0] == layer(x, state)[0]).all())
        True
        >>> layer.initial_state
        array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
        """
        arrays = self._snapshot().arrays
        parts = [arrays[n].view() for n in self._initial_shapes() if n in arrays]
        return tuple(parts) if len(parts) > 1 else parts[0] if parts else None

    @initial_state.setter
    def initial_state(self, value: Any) -> None:
        shapes = self._initial_shapes()
        new: Mapping[str, Array | None] = dict.fromkeys(shapes)
        if value is not None:
            parts = self._state_form.split("initial_state", value)
            new = {
                name: self._initial_part(argument, part, shapes[name])
                for name, (argument, part) in zip(shapes, parts, strict=True)
            }
        elif self.learn_initial_state:
            raise ValueError(
                "initial_state should be arrays for a layer with learn_initial_state=True, "
                "got None"
            )
        parameters.change([(self._holder, new)], may_add=True)

    def _initial_part(self, argument: str, part: Any, shape: tuple[int, int]) -> Array:
        array = inputs.real(argument, inputs.weight(argument, part), self._dtype)
        if array.shape != shape:
            raise ValueError(f"{argument} should have shape {shape}, got {array.shape}")
        return parameters.frozen(array, self._dtype)

    def _initial_gradients(
        self,
        dparts: Sequence[Array],
        defaulted: Sequence[bool],
        dresets: Sequence[Array] | None,
    ) -> Gradients:
        """The gradients of the initial state, given that of each sequence.

        `defaulted` says which parts came from the parameters; others have no share but that
        of the resets.
        """
        found: Gradients = {}
        with np.errstate(all="ignore"):
            for index, (name, shape) in enumerate(self._initial_shapes().items()):
                found[name] = np.zeros(shape, self._dtype)
                if defaulted[index]:
                    found[name] += dparts[index].sum(axis=1)
                if dresets is not None:
                    found[name] += dresets[index].sum(axis=1)
        return found
