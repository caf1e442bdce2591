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

__all__ = [
    "cosine",
    "logarithms",
    "power",
    "sum_of_logarithms",
    "sum_of_products",
    "sum_of_squares",
]

_PRODUCTS_AT_ONCE = 16384
_FACTORS_AT_ONCE = 512
# ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_ROOT_OF_HALF = 0.7071067811865476
# Of the series of log(m), enough for float64 where m is between that root and its inverse.
_LOGARITHM_TERMS = 11
_COSINE_TERMS = 16


def sum_of_squares(array: Array) -> float:
    """Return the sum of squares of all elements, in float64, in the order of memory."""
    flat = array.ravel(order="K")
    return sum_of_products([flat, flat])


def sum_of_products(factors: list[Array]) -> float:
    """Return the sum, in float64, of the products of the elements of flat arrays."""
    first, *others = factors
    scratch = np.empty(min(first.size, _PRODUCTS_AT_ONCE))
    total = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, first.size, _PRODUCTS_AT_ONCE):
            part = slice(start, start + _PRODUCTS_AT_ONCE)
            products = scratch[: first[part].size]
            # One after the other, since NumPy takes longer for both at once.
            np.copyto(products, first[part])
            for other in others:
                # The first one is there already, in float64.
                same = products if other is first else other[part]
                np.multiply(products, same, out=products)
            total += float(np.add.reduce(products))
    return total


def sum_of_logarithms(x: Array) -> float:
    """Return the sum of the natural logarithms of what is positive and finite, or NaN."""
    mantissas, powers = np.frexp(x.ravel().astype(np.float64))
    total = int(np.add.reduce(powers, dtype=np.int64))
    # So few that their product is no denormal.
    while mantissas.size > 1:
        starts = np.arange(0, mantissas.size, _FACTORS_AT_ONCE)
        mantissas, powers = np.frexp(np.multiply.reduceat(mantissas, starts))
        total += int(np.add.reduce(powers, dtype=np.int64))
    rest = _logarithm(float(mantissas[0])) if mantissas.size else 0.0
    return total * _LN2_HIGH + (rest + total * _LN2_LOW)


def logarithms(x: Array) -> Array:
    """Return, in float64, the natural logarithms of what is positive and finite, or NaN."""
    mantissas, powers = np.frexp(x.astype(np.float64))
    small = mantissas < _ROOT_OF_HALF
    mantissas, powers = np.where(small, 2 * mantissas, mantissas), powers - small
    rest = _near_one(mantissas)
    logarithms: Array = powers * _LN2_HIGH + (rest + powers * _LN2_LOW)
    return logarithms


def _logarithm(mantissa: float) -> float:
    """The natural logarithm of a number between a half and 1."""
    if mantissa < _ROOT_OF_HALF:
        return _logarithm(2 * mantissa) - math.log(2)
    logarithm: float = _near_one(mantissa)
    return logarithm


def _near_one(m: Any) -> Any:
    """The natural logarithm of a number near 1, or of each in an array."""
    s = (m - 1) / (m + 1)
    series = 0.0
    for k in range(_LOGARITHM_TERMS, -1, -1):
        series = series * s * s + 1 / (2 * k + 1)
    return 2 * s * series


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
