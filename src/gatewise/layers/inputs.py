"""Turning what a caller passes into arrays of a layer's dtype, or saying why not.

Messages name the argument, what was expected and what came. Both backends share them,
because everything is checked before either is called.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _checks

Array = NDArray[Any]


def floating_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype of a layer: float32 or float64."""
    try:
        if dtype is None:
            # For NumPy that is float64.
            raise TypeError
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype should be float32 or float64, got {dtype!r}") from None
    if wanted not in (np.float32, np.float64):
        raise ValueError(f"dtype should be float32 or float64, got {wanted}")
    return wanted.newbyteorder("=")


# A size of 2^31 and more is a mistake, which NumPy would report in words of its own.
_LARGEST_SIZE = 2**31 - 1


def size(name: str, value: int, *, minimum: int = 1) -> int:
    """A size or count: an integer of at least `minimum`."""
    try:
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(
            f"{name} should be an integer, got {value!r} of type {kind}"
        ) from None
    if number < minimum:
        raise ValueError(f"{name} should be at least {minimum}, got {number}")
    if number > _LARGEST_SIZE:
        raise ValueError(f"{name} should be at most {_LARGEST_SIZE}, got {number}")
    return number


def probability(name: str, value: float) -> float:
    """A probability below 1, so that something is always kept."""
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} should be a number, got {value!r}") from None
    if not 0 <= number < 1:
        raise ValueError(f"{name} should be at least 0 and below 1, got {value!r}")
    return number


def flag(name: str, value: bool) -> bool:
    """Whether an option is on: True or False, and nothing that only counts as such."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} should be True or False, got {value!r}")
    return bool(value)


def generator(name: str, value: np.random.Generator) -> np.random.Generator:
    """A source of random numbers."""
    if not isinstance(value, np.random.Generator):
        kind = type(value).__name__
        raise TypeError(f"{name} should be a numpy.random.Generator, got {kind}")
    return value


def number(name: str, value: float) -> float:
    """A finite number."""
    try:
        found = float(value)
    except (OverflowError, TypeError, ValueError):
        found = np.nan
    if not np.isfinite(found):
        raise ValueError(f"{name} should be a finite number, got {value!r}")
    return found


def real(name: str, value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """`value` as real numbers of `dtype`, copied only where the kernels could not read it.

    Booleans, integers and floating numbers of another width or byte order are converted.
    """
    array = _checks.as_numbers(name, value)
    if array.dtype != dtype:
        # A float64 beyond float32's range becomes infinite, as in any cast.
        with np.errstate(over="ignore"):
            return array.astype(dtype, order="C")
    readable = array.flags.aligned and (
        array.ndim == 0 or array.strides[-1] == dtype.itemsize
    )
    return array if readable else array.copy()


def as_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array of whatever dtype it has."""
    if value is None:
        raise TypeError(f"{name} should be an array, got None")
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} should be an array: {error}") from error


def weight(name: str, value: Any) -> Array:
    """`value` as an array of whatever dtype it has; tensors of other libraries too."""
    if hasattr(value, "detach"):
        # A PyTorch parameter, which NumPy refuses to read while it has a gradient.
        value = value.detach()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            value = value.float()
    array = as_array(name, value)
    # NumPy itself has no bfloat16; who has it converts it.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def is_integer(array: Array) -> bool:
    """Whether the array holds integers, as tokens are."""
    return array.dtype.kind in "iu"


def tokens(name: str, value: Array, count: int) -> NDArray[np.int64]:
    """A copy of `value` for indexing, in which every token is below `count`.

    A copy, since the kernels do not look again at what is checked here.
    """
    tokens = np.array(value, order="C")
    if tokens.size:
        low, high = tokens.min(), tokens.max()
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise ValueError(
                f"{name} should hold tokens from 0 to {count - 1}, got {wrong}"
            )
    return tokens.astype(np.int64, copy=False)


def sequence_resets(
    name: str, resets: ArrayLike, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Whether each step of each sequence starts anew, one boolean a step."""
    array = as_array(name, resets)
    if array.size == 0:
        # An empty list has no booleans to take its dtype from.
        array = array.astype(np.bool_)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} should hold booleans, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} should have shape {shape}, one a step, got {array.shape}")
    return array


def sequence_lengths(lengths: ArrayLike, batch: int, time: int) -> NDArray[np.int64]:
    """One length for each sequence of a batch, each from 0 to `time`."""
    array = as_array("lengths", lengths)
    if array.size == 0:
        # An empty list has no integers to take its dtype from.
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths should hold integers, got dtype {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(
            f"lengths should have shape ({batch},), one a sequence, got {array.shape}"
        )
    wrong = array[(array < 0) | (array > time)]
    if wrong.size:
        raise ValueError(
            f"lengths should be from 0 to {time}, the time steps of x, got {wrong[0]}"
        )
    return array.astype(np.int64)
