"""NumPy's arrays and numbers in a pickle, made of nothing but their bytes."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from gatewise.formats.containers import Array, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.pickle_values import (
    Builders,
    Leaf,
    Placeholder,
    as_bytes,
    size_in_bytes,
)

__all__ = ["NUMPY", "NumpyArray", "checked_shape"]

_NUMBERS = re.compile(r"[<>=|]?([biufc])(\d{1,2})")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
# NumPy 1.26 has no more.
_MOST_DIMENSIONS = 32


class _Dtype:
    """A dtype whose byte order is told after it is made."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dtype: np.dtype[Any] | None = None
        found = _NUMBERS.fullmatch(name)
        if found and int(found[2]) in _SIZES[found[1]]:
            self.dtype = np.dtype(name)

    def __str__(self) -> str:
        return self.name if self.dtype is None else str(self.dtype)

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), "<" | ">" | "=" | "|" as order, *_) if self.dtype is not None:
                self.dtype = self.dtype.newbyteorder(order)


class NumpyArray(Leaf):
    """An array that holds numbers, or something else that is not read."""

    __slots__ = ("_content", "_dtype", "_order", "_shape", "_unread")

    def __init__(self) -> None:
        self._unread = "an array without content"

    @property
    def unread(self) -> str:
        """Why it cannot be read, or nothing."""
        return self._unread

    def set_state(self, state: Any) -> None:
        """Take what the array consists of, as NumPy's own arrays do."""
        match state:
            case (int(), tuple() as shape, _Dtype() as dtype, fortran, content):
                self.fill(shape, dtype, "F" if fortran is True else "C", content)
            case _:
                raise FormatError("an array of NumPy should have shape, dtype and content")

    def fill(self, shape: tuple[Any, ...], dtype: _Dtype, order: str, content: Any) -> None:
        """Take what the array consists of, once it fits together."""
        if dtype.dtype is None or isinstance(content, list):
            self._unread = f"an array of dtype {dtype.name[:20]!r} is not read"
            return
        length = size_in_bytes(content)
        if length is None:
            raise FormatError("the content of an array of NumPy should be bytes")
        checked = checked_shape(shape, dtype.dtype.itemsize)
        size = math.prod(checked) * dtype.dtype.itemsize
        if length != size:
            raise FormatError(
                f"an array of NumPy of {size} bytes should be filled, got {length} bytes"
            )
        self._shape, self._dtype, self._order = checked, dtype.dtype, order
        self._content = content
        self._unread = ""

    @property
    def header(self) -> Header:
        """What it will be once read."""
        return Header(self._dtype.newbyteorder("="), self._shape)

    def read(self) -> Array:
        """Return the array in this machine's byte order.

        Raises
        ------
        FormatError
            If what should be bytes is text that cannot be any.
        """
        content = as_bytes(self._content)
        flat: Array = np.frombuffer(content or b"", self._dtype)
        shape = self._shape if self._order == "C" else self._shape[::-1]
        array = flat.reshape(shape)
        array = array if self._order == "C" else array.T
        return np.array(array, self._dtype.newbyteorder("="), order="C")


def checked_shape(shape: Any, itemsize: int) -> tuple[int, ...]:
    """Return a shape that NumPy can have.

    Raises
    ------
    FormatError
        If it is none.
    """
    if not isinstance(shape, tuple | list) or len(shape) > _MOST_DIMENSIONS:
        raise FormatError(f"a shape should have at most {_MOST_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in shape):
        raise FormatError("a shape should consist of sizes")
    if math.prod(size for size in shape if size) * itemsize >= 1 << 63:
        raise FormatError("a shape should be one that fits into memory")
    return tuple(shape)


def _dtype(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (str() as name, *_):
            return _Dtype(name)
        case (Placeholder() as kind, *_):
            return _Dtype(str(kind))
    return NotImplemented


def _array(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Placeholder(module="numpy", name="ndarray"), *_):
            return NumpyArray()
    return NotImplemented


def _array_of_buffer(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (content, _Dtype() as dtype, tuple() as shape, "C" | "F" as order):
            array = NumpyArray()
            array.fill(shape, dtype, order, content)
            return array
    return NotImplemented


def _number(arguments: tuple[Any, ...]) -> Any:
    """A number of NumPy's as Python's own."""
    match arguments:
        case (_Dtype(dtype=np.dtype() as dtype), content):
            if size_in_bytes(content) == dtype.itemsize:
                return np.frombuffer(as_bytes(content) or b"", dtype)[0].item()
    return NotImplemented


NUMPY: Builders = {
    ("numpy", "dtype"): _dtype,
    ("numpy.dtype", "dtype"): _dtype,
} | {
    (f"numpy.{core}.{module}", name): builder
    for core in ("core", "_core")
    for module, name, builder in (
        ("multiarray", "_reconstruct", _array),
        ("multiarray", "scalar", _number),
        ("numeric", "_frombuffer", _array_of_buffer),
    )
}
