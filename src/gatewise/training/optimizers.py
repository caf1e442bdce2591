"""Optimizers over plain dictionaries of arrays, which they change in place.

A parameter is known by its name, not by its place in memory, so that the state of an
optimizer can be stored and taken up again. The update rules and defaults are PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm"]


class Optimizer:
    """What all optimizers share: checks, the count of steps, and the state."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        self.learning_rate = _at_least_zero("learning_rate", learning_rate)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        # By slot and parameter. Steps are counted for each parameter, since one may join
        # later than the others.
        self._slots: dict[str, dict[str, Array]] = {}
        self._steps: dict[str, int] = {}

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        """Change `parameters` in place by one step against `gradients`.

        Both are keyed by name. A parameter without a gradient is left as it is.
        """
        for name, gradient in gradients.items():
            if name not in parameters:
                raise KeyError(f"gradients has {name!r}, which parameters has not")
            if gradient.shape != parameters[name].shape:
                raise ValueError(
                    f"gradients[{name!r}] must have shape {parameters[name].shape}, "
                    f"got {gradient.shape}"
                )
        with np.errstate(all="ignore"):
            for name, gradient in gradients.items():
                self._steps[name] = self._steps.get(name, 0) + 1
                self._update(name, parameters[name], gradient)

    def state_dict(self) -> dict[str, Array]:
        """Everything that the next step depends on besides the options, as copies."""
        state = {f"steps.{name}": np.array(count) for name, count in self._steps.items()}
        for slot, arrays in self._slots.items():
            state.update({f"{slot}.{name}": array.copy() for name, array in arrays.items()})
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take up a state that `state_dict` of the same class gave."""
        slots: dict[str, dict[str, Array]] = {}
        steps: dict[str, int] = {}
        for key, value in state.items():
            slot, _, name = key.partition(".")
            if slot == "steps":
                steps[name] = int(value)
            elif slot in self._slot_names():
                slots.setdefault(slot, {})[name] = np.array(value)
            else:
                raise ValueError(f"state has {key!r}, which {type(self).__name__} has not")
        self._slots, self._steps = slots, steps

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
        self.momentum = _at_least_zero("momentum", momentum)
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got 0")
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
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
        self.betas = (float(betas[0]), float(betas[1]))
        self.epsilon = _at_least_zero("epsilon", epsilon)

    def _slot_names(self) -> tuple[str, ...]:
        return ("mean", "square")

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
        root = math.sqrt(1 - beta_square**steps)
        np.sqrt(square, out=scratch)
        scratch += self.epsilon * root
        np.divide(mean, scratch, out=scratch)
        scratch *= self.learning_rate * root / (1 - beta_mean**steps)
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


def clip_grad_norm(gradients: Mapping[str, Array], max_norm: float) -> float:
    """Scale `gradients` in place so that their joint norm is at most `max_norm`.

    Parameters
    ----------
    gradients : dict of str to ndarray
    max_norm : float

    Returns
    -------
    float
        The Euclidean norm of all gradients together, before scaling.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> gradients = {"a": np.array([3.0]), "b": np.array([4.0])}
    >>> gatewise.clip_grad_norm(gradients, 1.0)
    5.0
    >>> {name: gradient.round(5).item() for name, gradient in gradients.items()}
    {'a': 0.6, 'b': 0.8}
    """
    max_norm = _at_least_zero("max_norm", max_norm)
    with np.errstate(all="ignore"):
        norm = math.sqrt(sum(map(_sum_of_squares, gradients.values())))
        scale = max_norm / (norm + 1e-6)
        # Written this way round, a NaN reaches the gradients and so is seen.
        if not scale >= 1:
            for gradient in gradients.values():
                gradient *= scale
    return norm


def _sum_of_squares(array: Array) -> float:
    flat = array.ravel(order="K")
    # Not flat @ flat: BLAS gives its threads even this, and each of them then waits for
    # more in a loop that takes a core from everybody else.
    return float(np.einsum("i,i->", flat, flat))


def _at_least_zero(name: str, value: float) -> float:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")
    return float(value)
