"""What every layer has: named parameters, and one way of changing them.

The parameters that a layer hands out are read-only, and are written through the layer
alone. So nothing that a layer prepares from its weights can be out of date.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise.layers import inputs

Array = NDArray[Any]
Gradients = dict[str, Array]


class Module(ABC):
    """The base of all layers.

    ``copy.copy`` and ``copy.deepcopy`` both make an independent layer. What decides about
    the shape or the formula of a layer is fixed once it is made.
    """

    _changeable: frozenset[str] = frozenset()

    def __init__(self, dtype: DTypeLike = "float32") -> None:
        self._dtype = inputs.floating_dtype(dtype)
        self._arrays: dict[str, Array] = {}
        self._version = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and the outputs."""
        return self._dtype

    def parameters(self) -> dict[str, Array]:
        """Return the parameters by name, as read-only views that follow every change.

        To change parameters, give new values to `set_parameters`.
        """
        return {name: array.view() for name, array in self._arrays.items()}

    @property
    def parameter_count(self) -> int:
        """How many numbers the parameters are."""
        return sum(array.size for array in self.parameters().values())

    def set_parameters(self, values: Mapping[str, ArrayLike]) -> None:
        """Overwrite the named parameters; those not named stay as they are.

        Either all values are written or, where one does not fit, none.

        Parameters
        ----------
        values
            Arrays by parameter name, converted to the layer's dtype.

        Examples
        --------
        >>> import gatewise
        >>> layer = gatewise.Linear(2, 1, seed=0)
        >>> layer.set_parameters({"weight": [[1, 2]], "bias": [3]})
        >>> layer([[10, 20]])
        array([[53.]], dtype=float32)
        """
        self._write(self._fitting("values", values, missing=True, unexpected=False))

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, ArrayLike], strict: bool = True
    ) -> None:
        """Take over the parameters of `state_dict`, which has PyTorch's names and shapes.

        Nothing is changed when something does not fit.

        Parameters
        ----------
        state_dict
            Arrays by parameter name; PyTorch tensors on the CPU will do.
        strict
            Whether a missing or an unexpected name is an error. A wrong shape always is
            one.
        """
        values = self._fitting(
            "state_dict", state_dict, missing=not strict, unexpected=not strict
        )
        self._write(values)

    def _fitting(
        self,
        argument: str,
        values: Mapping[str, ArrayLike],
        *,
        missing: bool,
        unexpected: bool,
    ) -> dict[str, Array]:
        """The values that fit, as arrays; an error that lists all those that do not.

        `missing` and `unexpected` say whether such names are passed over.
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{argument} should map names to arrays, got {type(values).__name__}"
            )
        own = self.parameters()
        problems = []
        lacking = [name for name in own if name not in values]
        if lacking and not missing:
            problems.append(f"missing {', '.join(lacking)}")
        unknown = [str(name) for name in values if name not in own]
        if unknown and not unexpected:
            problems.append(f"unexpected {', '.join(unknown)}")
        fitting = {}
        for name, parameter in own.items():
            if name in values:
                given = f"{argument}[{name!r}]"
                array = inputs.as_array(given, values[name])
                narrow = parameter.dtype not in (np.float32, np.float64)
                if narrow and array.dtype != parameter.dtype:
                    # A cast would lose what the scales of narrow weights are for.
                    problems.append(
                        f"{name} should have dtype {parameter.dtype}, got {array.dtype}"
                    )
                    continue
                array = inputs.real(given, array, parameter.dtype)
                if array.shape != parameter.shape:
                    problems.append(
                        f"{name} should have shape {parameter.shape}, got {array.shape}"
                    )
                fitting[name] = array
        if problems:
            kind = type(self).__name__
            raise ValueError(f"{argument} does not fit this {kind}: {'; '.join(problems)}")
        return fitting

    def _write(self, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            array = self._arrays[name]
            array.flags.writeable = True
            try:
                array[...] = value
            finally:
                array.flags.writeable = False
        self._version += 1

    def _add_parameter(self, name: str, value: Array) -> None:
        array = np.ascontiguousarray(value, self._dtype)
        array.flags.writeable = False
        self._arrays[name] = array

    @abstractmethod
    def _sizes(self) -> str:
        """The arguments that tell this layer from others, for its repr."""

    def _description(self) -> str:
        dtype = "" if self._dtype == np.float32 else f", dtype='{self._dtype}'"
        return f"{type(self).__name__}({self._sizes()}{dtype})"

    def __repr__(self) -> str:
        return f"{self._description()} with {self.parameter_count} parameters"

    def __setattr__(self, name: str, value: object) -> None:
        fixed = name in self.__dict__ and not name.startswith("_")
        if fixed and name not in self._changeable:
            kind = type(self).__name__
            raise AttributeError(f"{name} is fixed once a {kind} is made; make another one")
        super().__setattr__(name, value)

    def __copy__(self) -> Self:
        # A copy that shared its arrays could not see the other's changes.
        return copy.deepcopy(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Neither pickle nor deepcopy keeps arrays read-only, and loaders may lend memory.
        arrays = self._arrays.items()
        self._arrays = {n: a if a.flags.owndata else a.copy() for n, a in arrays}
        for array in self._arrays.values():
            array.flags.writeable = False


class ModuleTape:
    """The base of all tapes: what one forward pass leaves for the backward pass."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._version = module._version

    def check(self, module: Module) -> None:
        """Raise unless `module`, with its present parameters, made this tape."""
        if module is not self._module:
            raise ValueError(
                f"tape should come from this {type(module).__name__}'s forward, "
                f"got one from another {type(self._module).__name__}"
            )
        if module._version != self._version:
            raise RuntimeError(
                "tape should be used before parameters change, got one from before a change"
            )


def check_tape(tape: object, kind: type[ModuleTape], module: Module) -> None:
    """Raise unless `module`, with its present parameters, returned this tape."""
    if not isinstance(tape, kind):
        raise TypeError(
            f"tape should be what {type(module).__name__}.forward returned, "
            f"got {type(tape).__name__}"
        )
    tape.check(module)


class Feedforward(Module):
    """A layer that maps arrays to arrays and carries no state from step to step."""

    @abstractmethod
    def __call__(self, x: ArrayLike, *, num_threads: int | None = None) -> Array:
        """Return the output for `x`, as at inference."""

    @abstractmethod
    def forward(self, x: ArrayLike, *, num_threads: int | None = None) -> tuple[Array, Any]:
        """Return the output for `x`, as in training, and a tape for `backward`."""

    @abstractmethod
    def backward(
        self, tape: Any, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array | None, Gradients]:
        """Return the gradients of `x` (None for tokens) and of the parameters, by name."""


class Stateful(Module):
    """A layer over sequences that carries a state from step to step."""

    @abstractmethod
    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Return the outputs for the sequences `x` and the final state, as at inference."""

    @abstractmethod
    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return outputs and final state, as in training, and a tape for `backward`."""

    @abstractmethod
    def backward(
        self,
        tape: Any,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, Any, Gradients]:
        """Return the gradients of `x`, of the initial state and of the parameters."""
