"""Products of narrow weights, and of rows that are made as narrow first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import bfloat16, formats
from gatewise.kernels.numpy import integers
from gatewise.kernels.numpy.integers import IntegerWeights, integer_weights

Array = NDArray[Any]

__all__ = ["NARROW", "Narrow", "RoundedWeights", "add_product", "narrow", "product"]


class RoundedWeights(NamedTuple):
    """A matrix (inputs, outputs) in bfloat16, for rows that are rounded to it.

    It is kept as float32, whose products of two such numbers are exact.
    """

    matrix: NDArray[np.float32]

    def outputs(self, which: slice) -> RoundedWeights:
        """Return the weights of some outputs."""
        return RoundedWeights(self.matrix[:, which])


Narrow = IntegerWeights | RoundedWeights
NARROW = (IntegerWeights, RoundedWeights)


def narrow(
    matrix: Array, weight_format: str, scale: Array | None, *, is_bounded: bool = False
) -> Narrow | None:
    """Return a matrix (outputs, inputs) as its products take it; None if widened."""
    found = formats.look_up(weight_format)
    if found.steps:
        return integer_weights(matrix, scale, found.steps, is_bounded=is_bounded)
    if found.is_bfloat16:
        return RoundedWeights(formats.widened(matrix, weight_format, scale).T.copy())
    return None


def add_product(rows: Array, weights: Array | Narrow, out: Array) -> None:
    """Add the product of rows and a matrix to `out`."""
    if isinstance(weights, RoundedWeights):
        out += np.matmul(bfloat16.rounded(rows), weights.matrix)
    else:
        integers.add_product(rows, weights, out)


def product(rows: Array, weights: Array | Narrow) -> Array:
    """Return the product of rows and a matrix."""
    if isinstance(weights, RoundedWeights):
        found: Array = np.matmul(bfloat16.rounded(rows), weights.matrix)
        return found
    return integers.product(rows, weights)
