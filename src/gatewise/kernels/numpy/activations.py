"""The activations in plain NumPy: what each computes, and its slope as a function of it.

A value function writes to `out`, which may be z itself, or to a new array. A slope function
takes the value y, since that is what the way back has. Numbers of an activation follow in
the order of the table, ``gatewise.kernels.activations``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import activations as table
from gatewise.kernels.activations import Activation, Activations

Array = NDArray[Any]
Slope = NDArray[Any] | float

__all__ = [
    "Function",
    "Functions",
    "activate",
    "functions_of",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_columns",
    "tanh",
]


def _sigmoid(z: Array, out: Array | None = None) -> Array:
    # Where exp overflows to infinity, the result is 0, as it should be. np.negative in
    # place is wrong for float32 with gaps in some versions of NumPy, 2.4 among them.
    out = np.exp(-z, out)
    out += 1
    return np.reciprocal(out, out)


def _sigmoid_slope(y: Array) -> Slope:
    slope: Array = y * (1 - y)
    return slope


def _tanh_slope(y: Array) -> Slope:
    slope: Array = 1 - y * y
    return slope


def _relu(z: Array, out: Array | None = None) -> Array:
    return np.maximum(z, 0, out=out)


def _relu_slope(y: Array) -> Slope:
    # 0 at the kink, as PyTorch has it.
    slope: Array = y > 0
    return slope


def _linear_slope(y: Array) -> Slope:
    return 1.0


def _hard_sigmoid(z: Array, out: Array | None, slope: float, offset: float) -> Array:
    return np.clip(_affine(z, out, slope, offset), 0, 1, out=out)


def _hard_sigmoid_slope(y: Array, slope: float, offset: float) -> Slope:
    slopes: Array = np.multiply((y > 0) & (y < 1), slope, dtype=y.dtype)
    return slopes


def _softsign(z: Array, out: Array | None = None) -> Array:
    # Infinity divided by itself would be NaN.
    largest = np.finfo(z.dtype).max
    out = np.clip(z, -largest, largest, out=out)
    out /= 1 + np.abs(out)
    return out


def _softsign_slope(y: Array) -> Slope:
    slope: Array = (1 - np.abs(y)) ** 2
    return slope


def _softplus(z: Array, out: Array | None = None) -> Array:
    value: Array = np.logaddexp(z, z.dtype.type(0), out)
    return value


def _softplus_slope(y: Array) -> Slope:
    slope: Array = -np.expm1(-y)
    return slope


def _exponential_slope(y: Array) -> Slope:
    return y


def _elu(z: Array, out: Array | None, alpha: float) -> Array:
    below = alpha * np.expm1(np.minimum(z, 0))
    return _where(z > 0, z, below, out)


def _elu_slope(y: Array, alpha: float) -> Slope:
    return np.where(y > 0, y.dtype.type(1), y + alpha)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _selu(z: Array, out: Array | None = None) -> Array:
    out = _elu(z, out, _SELU_ALPHA)
    out *= _SELU_SCALE
    return out


def _selu_slope(y: Array) -> Slope:
    return np.where(y > 0, y.dtype.type(_SELU_SCALE), y + _SELU_SCALE * _SELU_ALPHA)


def _leaky_relu(z: Array, out: Array | None, slope: float) -> Array:
    return _where(z > 0, z, slope * z, out)


def _leaky_relu_slope(y: Array, slope: float) -> Slope:
    slopes: Array = np.where(y > 0, y.dtype.type(1), y.dtype.type(slope))
    return slopes


def _thresholded_relu(z: Array, out: Array | None, threshold: float) -> Array:
    # So written that NaN passes.
    return _where(z <= threshold, z.dtype.type(0), z, out)


def _thresholded_relu_slope(y: Array, threshold: float) -> Slope:
    slope: Array = y > 0
    return slope


def _scaled_tanh(z: Array, out: Array | None, alpha: float, beta: float) -> Array:
    out = np.multiply(z, beta, out)
    np.tanh(out, out)
    out *= alpha
    return out


def _scaled_tanh_slope(y: Array, alpha: float, beta: float) -> Slope:
    slope: Array = beta * (alpha - y * (y / alpha))
    return slope


def _affine(z: Array, out: Array | None, slope: float, offset: float) -> Array:
    out = np.multiply(z, slope, out)
    out += offset
    return out


def _affine_slope(y: Array, slope: float, offset: float) -> Slope:
    return slope


def _where(condition: Array, then: Any, otherwise: Array, out: Array | None) -> Array:
    chosen = np.where(condition, then, otherwise)
    if out is None:
        return chosen
    out[...] = chosen
    return out


_FUNCTIONS: dict[str, tuple[Callable[..., Array], Callable[..., Slope]]] = {
    "sigmoid": (_sigmoid, _sigmoid_slope),
    "tanh": (np.tanh, _tanh_slope),
    "relu": (_relu, _relu_slope),
    "linear": (np.positive, _linear_slope),
    "hard_sigmoid": (_hard_sigmoid, _hard_sigmoid_slope),
    "softsign": (_softsign, _softsign_slope),
    "softplus": (_softplus, _softplus_slope),
    "exponential": (np.exp, _exponential_slope),
    "elu": (_elu, _elu_slope),
    "selu": (_selu, _selu_slope),
    "leaky_relu": (_leaky_relu, _leaky_relu_slope),
    "thresholded_relu": (_thresholded_relu, _thresholded_relu_slope),
    "scaled_tanh": (_scaled_tanh, _scaled_tanh_slope),
    "affine": (_affine, _affine_slope),
}


class Function(NamedTuple):
    """An activation: its value, and its slope where it has this value."""

    value: Callable[..., Array]
    slope: Callable[[Array], Slope]


class Functions(NamedTuple):
    """The activations of a cell, as ``Activations`` names them."""

    gate: Function
    candidate: Function
    output: Function


@lru_cache
def functions_of(activations: Activations) -> Functions:
    """Return what these activations compute.

    Raises
    ------
    ValueError
        If one is in no table.
    """
    return Functions(*map(_function_of, activations))


def _function_of(activation: Activation) -> Function:
    name = table.activation("activation", activation.name).name
    value, slope = _FUNCTIONS[name]
    numbers = activation[1 : 1 + len(table.ACTIVATIONS[name])]
    if not numbers:
        return Function(value, slope)

    def value_of(z: Array, out: Array | None = None) -> Array:
        return value(z, out, *numbers)

    def slope_of(y: Array) -> Slope:
        return slope(y, *numbers)

    return Function(value_of, slope_of)


def softmax_columns(z: Array, out: Array) -> None:
    """Write the softmax along the first axis to `out`, which may be z."""
    if z.size:
        np.subtract(z, np.maximum.reduce(z), out)
        np.exp(out, out)
        out /= np.add.reduce(out)


def relu(z: Array, out: Array) -> None:
    """Write ``max(z, 0)`` into `out`; both are one-dimensional and contiguous."""
    _relu(z, out)


def sigmoid(z: Array, out: Array) -> None:
    """Write ``1 / (1 + exp(-z))`` into `out`; both are one-dimensional and contiguous."""
    with np.errstate(all="ignore"):
        _sigmoid(z, out)


def tanh(z: Array, out: Array) -> None:
    """Write ``tanh(z)`` into `out`; both are one-dimensional and contiguous."""
    np.tanh(z, out)


def activate(activation: Activation, z: Array, out: Array) -> None:
    """Write what an activation of a cell computes into `out`; both are contiguous."""
    with np.errstate(all="ignore"):
        _function_of(activation).value(z, out)


def softmax(z: Array, out: Array) -> None:
    """Write the softmax of every row of contiguous `z` ``(rows, classes)`` into `out`."""
    with np.errstate(all="ignore"):
        softmax_columns(z.T, out.T)
