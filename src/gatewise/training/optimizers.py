"""Optimizers, which change the parameters of a layer, or a dictionary of arrays in place.

A parameter is known by its name, not by its place in memory, so that the state of an
optimizer can be stored and taken up again. The update rules and defaults are PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.layers import Module
from gatewise.training.arguments import as_number, describe
from gatewise.training.portable import power

Array = NDArray[Any]

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class _Shaped(Protocol):
    """An array, or what a file says of one."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class Optimizer:
    """What all optimizers share: checks, the count of steps, and the state.

    Raises
    ------
    TypeError
        If an option is no number.
    ValueError
        If an option is negative or not finite.
    """

    # What must be known of a parameter once it has made a step.
    _needed_slots: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        self.learning_rate = as_number("learning_rate", learning_rate)
        self.weight_decay = as_number("weight_decay", weight_decay)
        # By slot and parameter. Steps are counted for each parameter, since one may join
        # later than the others.
        self._slots: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}

    def step(
        self,
        parameters: Module | Mapping[str, Array],
        gradients: Mapping[str, ArrayLike],
    ) -> None:
        """Change parameters by one step against `gradients`.

        Parameters
        ----------
        parameters : layer or dict of str to ndarray
            A layer, whose parameters then all change at once, or arrays of float32 or
            float64, which are changed in place. One without a gradient stays as it is.
        gradients : dict of str to array_like
            By the names of the parameters, and of their shapes.

        Raises
        ------
        TypeError
            If `parameters` is neither a layer nor a dictionary, `gradients` is no
            dictionary, or an array in one of them does not hold real numbers.
        KeyError
            If there is no parameter of a gradient's name.
        ValueError
            If a gradient, or what is known of earlier ones, has not the shape of its
            parameter, or an array to be changed is read-only. Nothing is changed then.

        Examples
        --------
        >>> import numpy as np
        >>> import gatewise
        >>> layer = gatewise.Linear(1, 1, bias=False)
        >>> layer.set_parameters({"weight": [[2.0]]})
        >>> y, tape = layer.forward(np.array([[3.0]], np.float32))
        >>> _, gradients = layer.backward(tape, np.ones_like(y))
        >>> gatewise.SGD(learning_rate=0.5).step(layer, gradients)
        >>> layer.state_dict()
        {'weight': array([[0.5]], dtype=float32)}
        """
        if isinstance(parameters, Module):
            # The layer's own parameters are read-only, and only it can change them all at
            # once: whatever interrupts this, it has those from before the step or after.
            values = parameters.state_dict()
            self._step(values, gradients)
            parameters.set_parameters({name: values[name] for name in gradients})
        elif isinstance(parameters, Mapping):
            self._step(parameters, gradients)
        else:
            raise TypeError(
                "parameters should be a layer, or map names to arrays, "
                f"got {describe(parameters)}"
            )

    def state_dict(self) -> dict[str, Array]:
        """Everything that the next step depends on besides the options, as copies."""
        state = {f"steps.{name}": np.array(count) for name, count in self._steps.items()}
        for slot, arrays in self._slots.items():
            state.update({f"{slot}.{name}": array.copy() for name, array in arrays.items()})
        return state

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take up a state that `state_dict` of the same class gave.

        Raises
        ------
        TypeError
            If `state` is no dictionary.
        ValueError
            If it is none of this class, or not a whole one. The state is kept then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state should map names to arrays, got {describe(state)}")
        arrays = {key: np.array(value) for key, value in state.items()}
        self.check_state(arrays)
        slots: dict[str, dict[str, Array]] = {}
        steps: dict[str, int] = {}
        for key, array in arrays.items():
            slot, _, name = key.partition(".")
            if slot != "steps":
                slots.setdefault(slot, {})[name] = array
            elif array < 0:
                raise ValueError(f"state[{key!r}] should be at least 0, got {array}")
            else:
                steps[name] = int(array)
        self._slots, self._steps = slots, steps

    def check_state(
        self,
        state: Mapping[str, _Shaped],
        parameters: Mapping[str, _Shaped] | None = None,
    ) -> None:
        """Raise ValueError unless `load_state_dict` can take a state of such arrays.

        With `parameters`, these must be those that the state belongs to.

        Raises
        ------
        ValueError
            If an array is missing, unknown, or has the wrong shape or dtype.
        """
        found: dict[str, set[str]] = {}
        like = dict(parameters or {})
        for key, array in state.items():
            slot, _, name = key.partition(".")
            if slot not in ("steps", *self._slot_names()):
                raise ValueError(f"state should be {type(self).__name__}'s, got {key!r}")
            if parameters is not None and name not in parameters:
                raise ValueError(f"state should be of these parameters, got {key!r}")
            found.setdefault(name, set()).add(slot)
            if slot == "steps":
                wanted = "an integer"
                good = array.dtype.kind in "iu" and array.shape == ()
            else:
                other = like.setdefault(name, array)
                real = other.dtype.kind == "f"
                wanted = f"{other.dtype} {other.shape}" if real else "real numbers"
                good = real and (array.dtype, array.shape) == (other.dtype, other.shape)
            if not good:
                raise ValueError(
                    f"state[{key!r}] should be {wanted}, got {array.dtype} {array.shape}"
                )
        for name, slots in found.items():
            for slot in ("steps", *self._needed_slots):
                if slot not in slots:
                    raise ValueError(f"state should have '{slot}.{name}', got none")

    def _step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, ArrayLike]
    ) -> None:
        if not isinstance(gradients, Mapping):
            raise TypeError(
                f"gradients should map names to arrays, got {describe(gradients)}"
            )
        arrays = {name: np.asarray(gradient) for name, gradient in gradients.items()}
        for name, gradient in arrays.items():
            if name not in parameters:
                raise KeyError(f"gradients should have names of parameters, got {name!r}")
            self._check(name, parameters[name], gradient)
        with np.errstate(all="ignore"):
            for name, gradient in arrays.items():
                self._steps[name] = self._steps.get(name, 0) + 1
                self._update(name, parameters[name], gradient)

    def _check(self, name: str, parameter: Array, gradient: Array) -> None:
        if not isinstance(parameter, np.ndarray) or parameter.dtype.kind != "f":
            is_array = isinstance(parameter, np.ndarray)
            what = parameter.dtype if is_array else describe(parameter)
            raise TypeError(
                f"parameters[{name!r}] should be an array of real numbers, got {what}"
            )
        if not parameter.flags.writeable:
            raise ValueError(
                f"parameters[{name!r}] should be writable, got a read-only array; "
                "to change a layer's parameters, give the layer: step(layer, gradients)"
            )
        if gradient.dtype.kind not in "fiu":
            raise TypeError(
                f"gradients[{name!r}] should hold real numbers, got {gradient.dtype}"
            )
        if gradient.shape != parameter.shape:
            raise ValueError(
                f"gradients[{name!r}] should have shape {parameter.shape}, "
                f"got {gradient.shape}"
            )
        for slot, slots in self._slots.items():
            if name in slots and slots[name].shape != parameter.shape:
                raise ValueError(
                    f"parameters[{name!r}] should have shape {slots[name].shape}, that of "
                    f"its {slot} in earlier steps, got {parameter.shape}"
                )

    def _slot_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _update(self, name: str, parameter: Array, gradient: Array) -> None:
        raise NotImplementedError

    def _slot(self, slot: str, name: str, parameter: Array) -> Array:
        arrays = self._slots.setdefault(slot, {})
        if name not in arrays:
            arrays[name] = np.zeros_like(parameter)
        return arrays[name]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum on request.

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float, default 0.0
        How much of the last step's direction is kept.
    nesterov : bool, default False
        Look ahead along the momentum, which must then be above 0.
    weight_decay : float, default 0.0
        Added to the gradient, times the parameter.

    Raises
    ------
    TypeError
        If an option is no number.
    ValueError
        If an option is negative or not finite, or `nesterov` is asked for without momentum.

    Notes
    -----
    Momentum is that of [1]_, and Nesterov's in the form of [2]_.

    References
    ----------
    .. [1] Polyak, B. T. (1964). "Some Methods of Speeding Up the Convergence of Iteration
       Methods". USSR Computational Mathematics and Mathematical Physics 4(5), 1-17.
    .. [2] Sutskever, I., Martens, J., Dahl, G., and Hinton, G. (2013). "On the Importance
       of Initialization and Momentum in Deep Learning". ICML 2013, 1139-1147.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> parameters = {"weight": np.array([1.0, 2.0])}
    >>> gatewise.SGD(learning_rate=0.5).step(parameters, {"weight": np.array([1.0, -1.0])})
    >>> parameters["weight"]
    array([0.5, 2.5])
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = as_number("momentum", momentum)
        if nesterov and momentum == 0:
            raise ValueError("momentum should be above 0 with nesterov, got 0")
        self.nesterov = nesterov

    def _slot_names(self) -> tuple[str, ...]:
        return ("momentum",)

    def _update(self, name: str, parameter: Array, gradient: Array) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum:
            direction = self._slot("momentum", name, parameter)
            direction *= self.momentum
            direction += gradient
            gradient = gradient + self.momentum * direction if self.nesterov else direction
        parameter -= self.learning_rate * gradient


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate : float, default 0.001
    betas : (float, float), default (0.9, 0.999)
        How much of the two running means each step keeps.
    epsilon : float, default 1e-8
        Added to the root of the mean square.
    weight_decay : float, default 0.0
        Added to the gradient, times the parameter.

    Raises
    ------
    TypeError
        If an option is no number, or `betas` are no sequence.
    ValueError
        If an option is negative or not finite, `betas` are not two, or one of them is 1 or
        more.

    Notes
    -----
    The update is that of [1]_.

    References
    ----------
    .. [1] Kingma, D. P., and Ba, J. (2015). "Adam: A Method for Stochastic Optimization".
       ICLR 2015. arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> parameters = {"weight": np.array([1.0, 2.0])}
    >>> adam = gatewise.Adam(learning_rate=0.1)
    >>> adam.step(parameters, {"weight": np.array([3.0, -0.5])})
    >>> parameters["weight"].round(6)
    array([0.9, 2.1])
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.betas = _as_betas(betas)
        self.epsilon = as_number("epsilon", epsilon)

    _needed_slots = ("mean", "square")

    def _slot_names(self) -> tuple[str, ...]:
        return self._needed_slots

    def _update(self, name: str, parameter: Array, gradient: Array) -> None:
        if self.weight_decay:
            gradient = self._decay(parameter, gradient)
        mean = self._slot("mean", name, parameter)
        square = self._slot("square", name, parameter)
        steps = self._steps[name]
        beta_mean, beta_square = self.betas

        # One scratch array and no other temporaries: half the time of the plain formula.
        scratch = np.multiply(gradient, 1 - beta_mean, dtype=parameter.dtype)
        mean *= beta_mean
        mean += scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - beta_square
        square *= beta_square
        square += scratch
        # mean / (1 - b1^t) over sqrt(square / (1 - b2^t)) + epsilon, with what is the same
        # for all elements taken out of the arrays.
        root = math.sqrt(1 - power(beta_square, steps))
        np.sqrt(square, out=scratch)
        scratch += self.epsilon * root
        np.divide(mean, scratch, out=scratch)
        scratch *= self.learning_rate * root / (1 - power(beta_mean, steps))
        parameter -= scratch

    def _decay(self, parameter: Array, gradient: Array) -> Array:
        decayed: Array = gradient + self.weight_decay * parameter
        return decayed


class AdamW(Adam):
    """Adam with the weight decay apart from the gradient, where it is not rescaled.

    Parameters
    ----------
    learning_rate : float, default 0.001
    betas : (float, float), default (0.9, 0.999)
    epsilon : float, default 1e-8
    weight_decay : float, default 0.01
        The share of a parameter, times the learning rate, that each step takes away.

    Raises
    ------
    TypeError
        If an option is no number, or `betas` are no sequence.
    ValueError
        If an option is negative or not finite, `betas` are not two, or one of them is 1 or
        more.

    Notes
    -----
    The update is that of [1]_, with the weight decay of [2]_.

    References
    ----------
    .. [1] Kingma, D. P., and Ba, J. (2015). "Adam: A Method for Stochastic Optimization".
       ICLR 2015. arXiv:1412.6980.
    .. [2] Loshchilov, I., and Hutter, F. (2019). "Decoupled Weight Decay Regularization".
       ICLR 2019. arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> parameters = {"weight": np.array([1.0])}
    >>> gatewise.AdamW(0.1, weight_decay=0.5).step(parameters, {"weight": np.array([0.0])})
    >>> parameters["weight"]
    array([0.95])
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            learning_rate, betas=betas, epsilon=epsilon, weight_decay=weight_decay
        )

    def _decay(self, parameter: Array, gradient: Array) -> Array:
        parameter *= 1 - self.learning_rate * self.weight_decay
        return gradient


def _as_betas(betas: object) -> tuple[float, float]:
    try:
        pair: tuple[object, ...] = tuple(betas)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"betas should be two numbers, got {describe(betas)}") from None
    if len(pair) != 2:
        raise ValueError(f"betas should be two numbers, got {betas!r}")
    # A list, since PyPy has other words for what a generator raises.
    first, second = [as_number(f"betas[{i}]", beta) for i, beta in enumerate(pair)]
    if not (first < 1 and second < 1):
        raise ValueError(f"betas should be two numbers in [0, 1), got {betas!r}")
    return first, second
