"""safetensors, read without any trust and written, with NumPy alone.

A file is the length of a header, in eight bytes, the header, which is JSON, and the bytes
of all arrays, one after the other.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.json.text import parse_json
from gatewise.formats.raw import byte_count, little_endian, read_array
from gatewise.formats.small_floats import SMALL_FLOATS, widened

Array = NDArray[Any]

__all__ = ["open_safetensors", "stored_dtype", "write_safetensors"]

_LENGTH = 8
# As in the reference implementation.
_LONGEST_HEADER = 100_000_000
_METADATA = "__metadata__"
_DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
_NAMES = {np.dtype(dtype).newbyteorder("="): name for name, dtype in _DTYPES.items()}


class _Entry(NamedTuple):
    header: Header
    # As the bytes stand in the file.
    dtype: np.dtype[Any]
    begin: int
    end: int


class _Safetensors:
    format = "safetensors"

    def __init__(
        self,
        file: BinaryIO,
        entries: Mapping[str, _Entry],
        metadata: Mapping[str, str],
        start: int,
    ) -> None:
        self._file = file
        self._entries = entries
        self._start = start
        self.headers: Mapping[str, Header] = {n: e.header for n, e in entries.items()}
        self.metadata: Mapping[str, Any] = metadata

    def read(self, name: str) -> Array:
        entry = self._entries[name]
        self._file.seek(self._start + entry.begin)
        array = read_array(self._file, name, entry.dtype, entry.header.shape)
        return widened(array, entry.header.stored) if entry.header.stored else array


def open_safetensors(file: BinaryIO) -> Container:
    """Look at a file of safetensors, and at nothing but its header.

    Every dtype of the format is read but those of 4 and 6 bits. Floats that NumPy has none
    of, BF16 and those of 8 bits, become float32, which has all their values.

    Parameters
    ----------
    file : binary file
        That can be sought in, and stays open as long as the container is used.

    Returns
    -------
    Container
        Its `metadata` are the texts that the header has under ``"__metadata__"``.

    Raises
    ------
    FormatError
        Unless the header is what it should be, and its arrays are just the bytes after it:
        without a gap, an overlap or a rest.

    References
    ----------
    "Safetensors", https://huggingface.co/docs/safetensors

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from gatewise.formats.safetensors import open_safetensors, write_safetensors
    >>> file = io.BytesIO()
    >>> write_safetensors(file, {"weight": np.ones((2, 3))}, {"author": "me"})
    >>> container = open_safetensors(file)
    >>> print(container.headers["weight"], container.metadata)
    float64 (2, 3) {'author': 'me'}
    >>> container.read("weight").sum()
    np.float64(6.0)
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH), "little")
    if size < _LENGTH or length > size - _LENGTH:
        raise FormatError(
            f"its header should end in the file of {size} bytes, and has {length} itself"
        )
    if length > _LONGEST_HEADER:
        raise FormatError(f"its header has {length} bytes, more than {_LONGEST_HEADER}")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise FormatError("its header should begin with '{'")
    said = parse_json(text, "its header")
    metadata = _checked_metadata(said.pop(_METADATA, None))
    entries = {name: _checked_entry(name, value) for name, value in said.items()}
    _check_places(entries, size - _LENGTH - length)
    return _Safetensors(file, entries, metadata, _LENGTH + length)


def _checked_metadata(said: object) -> dict[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(v, str) for v in said.values()):
        raise FormatError(
            f"its {_METADATA} should be texts by name, got {reprlib.repr(said)}"
        )
    return said


def _checked_entry(name: str, said: object) -> _Entry:
    shown = reprlib.repr(name)
    if any("\ud800" <= sign <= "\udfff" for sign in name):
        raise FormatError(f"the name {shown} is no text")
    if not isinstance(said, dict):
        raise FormatError(f"{shown} should be a dictionary, got {reprlib.repr(said)}")
    stored, shape, offsets = (said.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(stored, str) or not (stored in _DTYPES or stored in SMALL_FLOATS):
        known = ", ".join([*_DTYPES, *SMALL_FLOATS])
        raise FormatError(
            f"{shown} should have a dtype of {known}, got {reprlib.repr(stored)}"
        )
    if not _are_counts(shape):
        raise FormatError(f"{shown} should have a shape, got {reprlib.repr(shape)}")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise FormatError(
            f"{shown} should have two data_offsets, got {reprlib.repr(offsets)}"
        )
    dtype = np.dtype(_DTYPES.get(stored) or SMALL_FLOATS[stored])
    begin, end = offsets
    size = byte_count(name, shape, dtype.itemsize)
    if end - begin != size:
        raise FormatError(
            f"{shown} has {size} bytes by its shape and dtype, "
            f"and {end - begin} by its data_offsets"
        )
    if stored in _DTYPES:
        header = Header(dtype.newbyteorder("="), tuple(shape))
    else:
        # What it is read as needs to be possible too.
        byte_count(name, shape, 4)
        header = Header(np.dtype(np.float32), tuple(shape), stored)
    return _Entry(header, dtype, begin, end)


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _check_places(entries: Mapping[str, _Entry], size: int) -> None:
    """Refuse arrays that are not one after the other from the first byte to the last."""
    place, last = 0, ""
    for name, entry in sorted(entries.items(), key=lambda each: each[1][2:]):
        if entry.begin != place:
            shown, wrong = (
                reprlib.repr(name),
                "overlaps" if entry.begin < place else "leaves a gap",
            )
            other = f" with {reprlib.repr(last)}" if last else ""
            raise FormatError(
                f"{shown} {wrong}{other}: it begins at {entry.begin}, where {place} is next"
            )
        place, last = entry.end, name
    if place != size:
        raise FormatError(f"its arrays have {place} bytes, and {size} are there")


def write_safetensors(
    file: BinaryIO, arrays: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write arrays; the example is at `open_safetensors`.

    The same arrays in the same order give the same bytes. In the header they have the order
    that they are given in. Of their bytes those of wide dtypes come first, so that each
    array stands at a multiple of its dtype's size, as the safetensors library has it.

    Parameters
    ----------
    file : binary file
    arrays : dict of str to ndarray
        In any layout and byte order; nothing is copied but what has another than the file.
    metadata : dict of str to str

    Raises
    ------
    TypeError
        If an array has a dtype that the format has not: all but booleans, integers,
        float16 to float64 and complex64. If a name or anything in `metadata` is no text.
    ValueError
        If a name is ``"__metadata__"`` or no Unicode, or the header is too long to be read.
    """
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata should hold texts only, got {name!r}: {value!r}")
    stored = {name: stored_dtype(name, array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    offsets, place = {}, 0
    for name in order:
        offsets[name] = [place, place + arrays[name].nbytes]
        place += arrays[name].nbytes
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    for name, array in arrays.items():
        header[name] = {
            "dtype": stored[name],
            "shape": list(array.shape),
            "data_offsets": offsets[name],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    if len(text) > _LONGEST_HEADER:
        raise ValueError(
            f"arrays and metadata should have a header of at most {_LONGEST_HEADER} bytes, "
            f"got {len(text)}"
        )
    try:
        parse_json(text, "it")
    except FormatError as error:
        raise ValueError(
            f"arrays and metadata should have a header that can be read, got one of "
            f"which {error}"
        ) from None
    file.write(len(text).to_bytes(_LENGTH, "little"))
    file.write(text)
    for name in order:
        file.write(little_endian(arrays[name]))


def stored_dtype(name: str, array: Array) -> str:
    """Return what the format calls the dtype of an array that is to have this name.

    Raises
    ------
    TypeError
        If it calls it nothing.
    ValueError
        If the name is taken.
    """
    if not isinstance(name, str):
        raise TypeError(f"arrays should have texts as names, got {name!r}")
    if name == _METADATA:
        raise ValueError(f"arrays should not have the name {_METADATA!r}, which is taken")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} should hold numbers, got dtype {array.dtype}")
    stored = _NAMES.get(array.dtype.newbyteorder("="))
    if stored is None:
        raise TypeError(
            f"{name} should have a dtype that safetensors has, got {array.dtype}"
        )
    return stored
