"""The table of formats: how the kernels can keep weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import bfloat16

Array = NDArray[Any]

__all__ = ["FORMATS", "TO_BFLOAT16", "Format", "check", "look_up", "widened"]


class Format(NamedTuple):
    """A format: the dtype of its elements, and whether each row has a scale as well.

    What is not `narrow` has the precision of the sums. `largest` is the largest weight that
    a narrow one can hold. Where there are `steps`, the products are those of integers: the
    rows that the weights multiply are rounded to so many steps of their largest element.
    Where `is_bfloat16`, weights are its bits, and rows are rounded to it.
    """

    dtype: np.dtype[Any]
    narrow: bool
    scaled: bool
    largest: float
    steps: int = 0
    is_bfloat16: bool = False


def _largest(dtype: Any) -> float:
    return float(np.finfo(dtype).max)


# float32 weights in training, whose products may be those of bfloat16.
TO_BFLOAT16 = "to_bfloat16"

FORMATS = {
    "float32": Format(np.dtype(np.float32), False, False, _largest(np.float32)),
    "float64": Format(np.dtype(np.float64), False, False, _largest(np.float64)),
    "float16": Format(np.dtype(np.float16), True, False, _largest(np.float16)),
    "bfloat16": Format(
        np.dtype(np.uint16), True, False, bfloat16.LARGEST, is_bfloat16=True
    ),
    TO_BFLOAT16: Format(np.dtype(np.float32), False, False, bfloat16.LARGEST),
    # Rows in two planes of 8 bits, and in one.
    "int8": Format(np.dtype(np.int8), True, True, _largest(np.float32), 127 << 8),
    "int8_8": Format(np.dtype(np.int8), True, True, _largest(np.float32), 127),
}


def look_up(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from gatewise.kernels import formats
    >>> formats.look_up("int8").scaled
    True
    """
    try:
        return FORMATS[name]
    except KeyError:
        expected = ", ".join(FORMATS)
        raise ValueError(f"format should be one of {expected}, got {name!r}") from None


def check(name: str, dtype: np.dtype[Any]) -> None:
    """Check that weights in this format can go with sums in `dtype`.

    Raises
    ------
    ValueError
        If there is no such format, or it goes with other sums.
    """
    found = look_up(name)
    if dtype != (np.float32 if found.narrow else found.dtype):
        raise ValueError(f"weight_format should go with sums in {dtype}, got {name!r}")


def widened(matrix: Array, name: str, scale: Array | None) -> Array:
    """Return a matrix of this format in the precision of the sums.

    `scale` has what the rows of a scaled one are multiplied by.
    """
    found = look_up(name)
    if not found.narrow:
        return matrix
    if found.is_bfloat16:
        return bfloat16.widened(matrix)
    wide = matrix.astype(np.float32)
    return wide if scale is None else wide * scale[:, None]
