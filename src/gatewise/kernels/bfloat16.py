"""bfloat16, of which NumPy has no dtype: the upper half of a float32, kept as uint16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["LARGEST", "narrowed", "rounded", "widened"]

# The largest float32 that does not round to infinity.
LARGEST = float(np.uint32(0x7F7F7FFF).view(np.float32))

_SIGN, _UPPER_HALF = np.uint32(0x80000000), np.uint32(0xFFFF0000)
_LEAST_NORMAL, _INFINITY = np.uint32(0x00800000), np.uint32(0x7F800000)


def narrowed(values: Array) -> NDArray[np.uint16]:
    """Return float32 rounded to bfloat16, as its bits.

    To nearest, of two the even one. A denormal becomes 0, a NaN stays one.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.kernels import bfloat16
    >>> hex(bfloat16.narrowed(np.array([1.005], np.float32))[0])
    '0x3f81'
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    # Half a step less one, and one more where the step below is odd.
    nearest = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
    magnitude = bits & ~_SIGN
    nearest = np.where(magnitude < _LEAST_NORMAL, bits & _SIGN, nearest)
    nearest = np.where(magnitude > _INFINITY, bits | np.uint32(0x00400000), nearest)
    return (nearest >> np.uint32(16)).astype(np.uint16).reshape(np.shape(values))


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 that bfloat16 stand for.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.kernels import bfloat16
    >>> bfloat16.widened(np.array([0x3F81], np.uint16))
    array([1.0078125], dtype=float32)
    """
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def rounded(values: Array) -> NDArray[np.float32]:
    """Return the float32 that these are when rounded to bfloat16.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.kernels import bfloat16
    >>> bfloat16.rounded(np.array([1.005, 1.0], np.float32))
    array([1.0078125, 1.       ], dtype=float32)
    """
    return widened(narrowed(values))
