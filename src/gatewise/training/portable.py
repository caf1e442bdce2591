"""Mathematics whose last bit is the same on every machine.

The functions of the C library and many of NumPy's choose their instructions by the
processor, and with them the last bit. What training needs of them is here made of sums,
products and quotients, each of which IEEE 754 rounds in one way. NumPy's sums over a
contiguous array have one order everywhere; its products of vectors have not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["cosine", "logarithm", "power", "sum_of_squares"]

_SQUARES_AT_ONCE = 8192
# ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_ROOT_OF_HALF = 0.7071067811865476
# Of the series of log(m), enough for float64 where m is between that root and its inverse.
_LOGARITHM_TERMS = 11
_COSINE_TERMS = 16


def sum_of_squares(array: Array) -> float:
    """Return the sum of squares of all elements, in float64, in the order of memory."""
    flat = array.ravel(order="K")
    scratch = np.empty(min(flat.size, _SQUARES_AT_ONCE))
    total = 0.0
    for first in range(0, flat.size, _SQUARES_AT_ONCE):
        part = flat[first : first + _SQUARES_AT_ONCE]
        squares = np.multiply(part, part, out=scratch[: part.size], dtype=np.float64)
        total += float(np.add.reduce(squares))
    return total


def logarithm(x: Array) -> Array:
    """Return the natural logarithm, in float64, where x is positive and finite, or NaN."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    small = mantissa < _ROOT_OF_HALF
    mantissa = np.where(small, 2 * mantissa, mantissa)
    exponent = exponent - small
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    series = np.full_like(s, 1 / (2 * _LOGARITHM_TERMS + 1))
    for k in range(_LOGARITHM_TERMS - 1, -1, -1):
        series *= square
        series += 1 / (2 * k + 1)
    result: Array = exponent * _LN2_HIGH + (2 * s * series + exponent * _LN2_LOW)
    return result


def cosine(x: float) -> float:
    """Return the cosine of a number between 0 and pi."""
    if x > math.pi / 2:
        return -cosine(math.pi - x)
    series = 1.0
    for k in range(2 * _COSINE_TERMS, 0, -2):
        series = 1 - x * x * series / (k * (k - 1))
    return series


def power(base: float, exponent: int) -> float:
    """Return `base` to a power of at least 0."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
