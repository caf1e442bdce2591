"""Numbers as they stand in a file, brought into arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.errors import FormatError

Array = NDArray[Any]

__all__ = ["byte_count", "little_endian", "read_array"]

# What every NumPy can have.
_MOST_AXES = 32
_LARGEST = 2**63 - 1


def byte_count(name: str, shape: Sequence[int], itemsize: int) -> int:
    """Return how many bytes an array has that a file claims to hold.

    Raises
    ------
    FormatError
        If NumPy can have no such array: it has too many axes, or, axes of size 0 left
        aside, more bytes than a processor can count.

    Examples
    --------
    >>> from gatewise.formats.raw import byte_count
    >>> byte_count("weight", (2, 3), 4)
    24
    """
    if len(shape) > _MOST_AXES:
        raise FormatError(f"{name[:100]!r} has {len(shape)} axes, more than {_MOST_AXES}")
    # One of size 0 does not make the others harmless.
    if math.prod(max(size, 1) for size in shape) * itemsize > _LARGEST:
        raise FormatError(f"{name[:100]!r} has a shape that no memory can hold")
    return math.prod(shape) * itemsize


def read_array(
    file: Any,
    name: str,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    order: Literal["C", "F"] = "C",
) -> Array:
    """Read an array from where `file` stands; that its bytes are there has been checked.

    Parameters
    ----------
    file : binary file
        Something with ``readinto``.
    name : str
        What the errors call it.
    dtype : dtype
        With the byte order that the file has; the array has the machine's.
    shape : sequence of int
    order : {"C", "F"}

    Raises
    ------
    FormatError
        If the file has become shorter, or a boolean is neither 0 nor 1.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from gatewise.formats.raw import read_array
    >>> read_array(io.BytesIO(bytes([0, 1, 0, 2])), "a", np.dtype(">i2"), (2,))
    array([1, 2], dtype=int16)
    """
    array: Array = np.empty(math.prod(shape), dtype)
    view = array.view(np.uint8).data
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            raise FormatError(f"{name[:100]!r} is cut off")
        done += got
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        # NumPy computes as if there were none.
        raise FormatError(f"{name[:100]!r} holds booleans that are neither 0 nor 1")
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array.reshape(shape, order=order)


def little_endian(array: Array) -> memoryview:
    """Return an array's bytes in the order of its rows, little-endian, copied if need be.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.formats.raw import little_endian
    >>> list(little_endian(np.array([[1, 2], [3, 4]], np.uint8).T))
    [1, 3, 2, 4]
    """
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data
