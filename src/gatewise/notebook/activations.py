"""The two activations that are public on their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gatewise._checks import Array, as_floating
from gatewise.kernels import chooser

__all__ = ["sigmoid", "softmax"]


def sigmoid(z: ArrayLike) -> Array:
    """Return ``1 / (1 + exp(-z))``, element by element, without overflow.

    Parameters
    ----------
    z : array_like
        Real numbers in any shape.

    Returns
    -------
    ndarray
        The same shape; a scalar for a scalar.

    Raises
    ------
    TypeError
        If `z` holds no real numbers of at most 64 bits.
    ValueError
        If `z` is no array.

    Examples
    --------
    >>> from gatewise import sigmoid
    >>> sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    values = as_floating("z", z)
    flat = np.require(values, None, ["C", "A"]).reshape(-1)
    result = np.empty_like(flat)
    chooser.kernels.sigmoid(flat, result)
    # [()] makes a scalar of an array without axes, as NumPy's own functions do.
    return result.reshape(values.shape)[()]


def softmax(z: ArrayLike) -> Array:
    """Return ``exp(z)`` divided by its sum over axis 0, so that each column sums to 1.

    Each column is shifted by its own maximum first, so nothing overflows.

    Parameters
    ----------
    z : array_like
        Real numbers with at least one axis.

    Returns
    -------
    ndarray
        The same shape.

    Raises
    ------
    TypeError
        If `z` holds no real numbers of at most 64 bits.
    ValueError
        If `z` is no array, or has no axis.

    Examples
    --------
    >>> from gatewise import softmax
    >>> softmax([[1.0, 1000.0], [1.0, 0.0]])
    array([[0.5, 1. ],
           [0.5, 0. ]])
    """
    values = as_floating("z", z)
    if not values.ndim:
        raise ValueError("z should have at least one axis, got shape ()")
    # The kernel wants a row for each column.
    columns = np.moveaxis(values, 0, -1)
    rows = np.require(columns, None, ["C", "A"]).reshape(-1, max(values.shape[0], 1))
    result = np.empty_like(rows)
    chooser.kernels.softmax(rows, result)
    return np.moveaxis(result.reshape(columns.shape), -1, 0)
