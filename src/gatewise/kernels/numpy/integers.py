"""Products of int8 weights with rows of integers: the page to read for the core's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["IntegerWeights", "add_product", "integer_weights", "product", "rounded_rows"]

# Sums of so many inputs fit the core's 32 bits; those of such segments are added in turn.
SEGMENT = 65536
# No scale is for a largest element below this, so that none is infinite or 0.
LEAST_SIZE = np.float32(2.0**-100)


class IntegerWeights(NamedTuple):
    """A matrix (inputs, outputs) of integers, for rows of integers.

    The integers are float64, whose products BLAS sums exactly up to 2^53. `scale` is what
    each output is multiplied by, `steps` how many the largest element of a row takes; where
    rows are bounded, 1 takes as many unless one exceeds it.
    """

    integers: NDArray[np.float64]
    scale: NDArray[np.float32]
    steps: float
    is_bounded: bool

    def outputs(self, which: slice) -> IntegerWeights:
        """Return the weights of some outputs."""
        return self._replace(integers=self.integers[:, which], scale=self.scale[which])


def integer_weights(
    matrix: NDArray[np.int8],
    scale: NDArray[np.float32] | None,
    steps: float,
    *,
    is_bounded: bool = False,
) -> IntegerWeights:
    """Return a matrix (outputs, inputs) and the scales of its rows in that form."""
    if scale is None:
        scale = np.ones(len(matrix), np.float32)
    return IntegerWeights(matrix.T.astype(np.float64), scale, steps, is_bounded)


def rounded_rows(
    rows: NDArray[np.float32], steps: float, *, is_bounded: bool
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return rows in whole steps, and what a step of each row is.

    A row with what is not finite has steps of NaN.
    """
    size = np.abs(rows).max(axis=-1, keepdims=True, initial=0)
    is_finite = np.isfinite(size)
    size = np.maximum(size, np.float32(1) if is_bounded else LEAST_SIZE)
    size[~is_finite] = 1
    whole = np.rint(rows * (np.float32(steps) / size)).astype(np.float64)
    whole[~is_finite[..., 0]] = 0
    scale = size / np.float32(steps)
    scale[~is_finite] = np.nan
    return whole, scale


def add_product(rows: Array, weights: Array | IntegerWeights, out: Array) -> None:
    """Add the product of rows and a matrix to `out`."""
    if not isinstance(weights, IntegerWeights):
        # It costs half as much as `@` where arrays are small.
        out += np.dot(rows, weights)
        return
    whole, scale = rounded_rows(rows, weights.steps, is_bounded=weights.is_bounded)
    for first in range(0, whole.shape[-1], SEGMENT):
        part = slice(first, first + SEGMENT)
        sums = np.matmul(whole[..., part], weights.integers[part])
        # Rounded to float32 once, or where they are 2^31 and more as two parts are.
        high = np.floor(sums / 256)
        low = (sums - 256 * high).astype(np.float32)
        integers = np.float32(256) * high.astype(np.float32) + low
        out += (integers * scale) * weights.scale


def product(rows: Array, weights: Array | IntegerWeights) -> Array:
    """Return the product of rows and a matrix."""
    if not isinstance(weights, IntegerWeights):
        dot: Array = np.dot(rows, weights)
        return dot
    out = np.zeros((*rows.shape[:-1], len(weights.scale)), np.float32)
    add_product(rows, weights, out)
    return out
