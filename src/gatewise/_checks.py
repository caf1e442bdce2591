"""What comes in, checked once and before either backend, so that both refuse it alike.

A message names the array, says what it should be and what came. Arithmetic is done in
float32 or float64: float16 is widened to float32, integers and booleans to float64.
Everything else is a TypeError, long double too, which would silently lose the digits it was
chosen for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

__all__ = [
    "as_floating",
    "as_numbers",
    "check_shape",
    "common_dtype",
    "parameter",
    "with_article",
]

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)

# By type character, which is the same in either byte order.
_WORKING_DTYPE: dict[str, np.dtype[Any]] = {
    "e": _FLOAT32,
    "f": _FLOAT32,
    "d": _FLOAT64,
    **dict.fromkeys("?" + np.typecodes["AllInteger"], _FLOAT64),
}


def as_numbers(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of real numbers, without a copy if it is one already."""
    array = value if type(value) is np.ndarray else _as_array(name, value)
    if value is None:
        raise TypeError(f"{name} should be an array, got None")
    if array.dtype.char not in _WORKING_DTYPE:
        raise TypeError(
            f"{name} should hold real numbers of at most 64 bits, got dtype {array.dtype}"
        )
    return array


def common_dtype(arrays: Sequence[Array]) -> np.dtype[Any]:
    """Return the float32 or float64 for computing with arrays from `as_numbers`."""
    for array in arrays:
        if _WORKING_DTYPE[array.dtype.char] is _FLOAT64:
            return _FLOAT64
    return _FLOAT32


def as_floating(name: str, value: ArrayLike) -> Array:
    """Return `value` in float32 or float64 and native byte order, copied if need be."""
    array = as_numbers(name, value)
    return array.astype(_WORKING_DTYPE[array.dtype.char], copy=False)


def check_shape(
    name: str, array: Array, expected: tuple[int | str, ...], free: int = 0
) -> None:
    """Raise ValueError unless `array` has the shape `expected`.

    The first `free` axes may have any size, and are named in `expected` instead.
    """
    shape = array.shape
    if shape == expected:
        return
    if len(shape) != len(expected) or shape[free:] != expected[free:]:
        sizes = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
        raise ValueError(f"{name} should have shape ({sizes}), got {shape}")


def parameter(parameters: Mapping[str, ArrayLike], name: str) -> Array:
    """Return the array `name` of a dictionary of parameters."""
    try:
        value = parameters[name]
    except KeyError:
        raise KeyError(f"parameters should have an array {name!r}, got none") from None
    except (TypeError, IndexError):
        raise TypeError(
            f"parameters should map names to arrays, got {type(parameters).__name__}"
        ) from None
    return as_numbers(name, value)


def _as_array(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} should be an array: {error}") from error


def with_article(kind: type | str) -> str:
    """The name of a class as it stands in a sentence."""
    name = kind if isinstance(kind, str) else kind.__name__
    return f"{'an' if name[0] in 'AEIORL' and name != 'Linear' else 'a'} {name}"
