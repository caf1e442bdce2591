"""Sequences of unequal length as one array with lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import describe

Array = NDArray[Any]

__all__ = ["as_sequences", "pad_sequences"]


def pad_sequences(
    sequences: Sequence[ArrayLike],
) -> tuple[Array, NDArray[np.int64]]:
    """Return sequences of unequal length as one array, with zeros after each, and lengths.

    Parameters
    ----------
    sequences : sequence of array_like
        Each ``(time_i, ...)``, the same but for its time.

    Returns
    -------
    x : ndarray, shape (n, longest, ...)
        Of the dtype that holds all of them.
    lengths : ndarray of int64, shape (n,)

    Raises
    ------
    TypeError
        If `sequences` is no list of arrays, or holds text.
    ValueError
        If there are none, one has no axis, or they differ in more than time.

    Examples
    --------
    >>> from gatewise.training import pad_sequences
    >>> x, lengths = pad_sequences([[1, 2, 3], [4]])
    >>> x
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    arrays = as_sequences("sequences", sequences)
    return _padded(arrays)


def as_sequences(name: str, sequences: Any) -> list[Array]:
    """Return sequences as arrays, or refuse what is none; lists of any kind will do."""
    indexed = hasattr(sequences, "__len__") and hasattr(sequences, "__getitem__")
    if not indexed or isinstance(sequences, str | bytes | dict):
        raise TypeError(
            f"{name} should be a list of sequences (time, ...), got {describe(sequences)}"
        )
    if not len(sequences):
        raise ValueError(f"{name} should hold at least one sequence, got none")
    arrays: list[Array] = []
    for index in range(len(sequences)):
        try:
            array = np.asarray(sequences[index])
        except ValueError as error:
            raise ValueError(f"{name}[{index}] should be an array: {error}") from error
        if array.dtype.kind in "SU" and array.ndim == 0:
            raise TypeError(
                f"{name}[{index}] should be a sequence of numbers, such as tokens, "
                f"got {describe(array.item())}"
            )
        if array.ndim == 0:
            raise ValueError(f"{name}[{index}] should have an axis of time, got {array!r}")
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{name}[{index}] should have shape (time, "
                f"{', '.join(map(str, arrays[0].shape[1:]))}) as the first has, "
                f"got {array.shape}"
            )
        arrays.append(array)
    return arrays


def _padded(arrays: list[Array]) -> tuple[Array, NDArray[np.int64]]:
    lengths = np.array([len(array) for array in arrays], np.int64)
    shape = (len(arrays), int(lengths.max()), *arrays[0].shape[1:])
    x: Array = np.zeros(shape, np.result_type(*{array.dtype for array in arrays}))
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array
    return x, lengths
