"""Activations as layers: ReLU, Tanh, Sigmoid and Softmax."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import _checks
from gatewise.kernels import chooser
from gatewise.layers import inputs
from gatewise.layers.kinds import Feedforward
from gatewise.layers.module import Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.tape import ModuleTape, check_tape

Array = NDArray[Any]

__all__ = ["ReLU", "Sigmoid", "Softmax", "Tanh"]


class ActivationTape(ModuleTape):
    """Holds the output, of which the slopes can be told."""

    def __init__(self, module: Module, snapshot: Snapshot, y: Array) -> None:
        super().__init__(module, snapshot)
        self.y = y


class Activation(Feedforward):
    """The base of the layers that apply one function, and have no parameters.

    The output has the dtype of the input, float32 or float64.
    """

    _keeps_dtype = True
    # What the kernels call the function.
    _kernel: ClassVar[str]

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        values = np.asarray(self._checked(x), order="C")
        y: Array = chooser.kernels.empty(values.shape, values.dtype)
        shape = self._shape(values)
        getattr(chooser.kernels, self._kernel)(values.reshape(shape), y.reshape(shape))
        return y

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, ActivationTape]:
        y = self._call(snapshot, x, num_threads)
        y.flags.writeable = False
        return y, ActivationTape(self, snapshot, y)

    def backward(
        self, tape: ActivationTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradient of `x`; there are no parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers, or
            `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, ActivationTape, self)
        gradient = inputs.real("dy", dy, tape.y.dtype)
        if gradient.shape != tape.y.shape:
            raise ValueError(f"dy should have shape {tape.y.shape}, got {gradient.shape}")
        with np.errstate(all="ignore"):
            return self._back(tape.y, gradient), {}

    def _checked(self, x: ArrayLike) -> Array:
        """The input as an array of float32 or float64."""
        return _checks.as_floating("x", x)

    def _shape(self, values: Array) -> tuple[int, ...]:
        """How the kernel takes the values."""
        return (values.size,)

    @abstractmethod
    def _back(self, y: Array, dy: Array) -> Array:
        """The gradient of the input, given the output and its gradient."""

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]]:
        return [(self._kernel,)]

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return self._dtype_and_default()


class ReLU(Activation):
    """``max(x, 0)``, with a slope of 0 at the kink.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.ReLU()([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """

    _kernel = "relu"

    def _back(self, y: Array, dy: Array) -> Array:
        # So written that NaN passes on the gradient, as in PyTorch.
        dx: Array = np.where(y <= 0, y.dtype.type(0), dy)
        return dx


class Tanh(Activation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.Tanh()([-100.0, 0.0, 100.0])
    array([-1.,  0.,  1.])
    """

    _kernel = "tanh"

    def _back(self, y: Array, dy: Array) -> Array:
        dx: Array = dy * (1 - y * y)
        return dx


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.Sigmoid()([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """

    _kernel = "sigmoid"

    def _back(self, y: Array, dy: Array) -> Array:
        dx: Array = dy * y * (1 - y)
        return dx


class Softmax(Activation):
    """Exponentials of the last axis, scaled so that their sum is 1.

    The loss `softmax_cross_entropy` has a softmax of its own, and wants none before it.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.Softmax()([[1.0, 1.0], [0.0, 1000.0]])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    _kernel = "softmax"

    def _checked(self, x: ArrayLike) -> Array:
        values = super()._checked(x)
        if values.ndim == 0:
            raise ValueError("x should have shape (..., classes), got ()")
        return values

    def _shape(self, values: Array) -> tuple[int, ...]:
        classes = values.shape[-1]
        return (values.size // max(classes, 1), classes)

    def _back(self, y: Array, dy: Array) -> Array:
        products = y * dy
        dx: Array = products - y * products.sum(axis=-1, keepdims=True)
        return dx
