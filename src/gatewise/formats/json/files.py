"""JSON files that may be anything: read whole, with their lists of numbers as arrays."""

from __future__ import annotations

import codecs
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError
from gatewise.formats.json.text import parse_json

Array = NDArray[Any]

__all__ = ["HeldArrays", "format_errors", "numbers", "numbers_in", "read_json"]

# Memory is bounded by how many entries `parse_json` takes, and so is the time.
_MOST_BYTES = 1 << 28
_MOST_AXES = 8


class HeldArrays:
    """What a JSON file has given, as a `Container`: its arrays are there already.

    Parameters
    ----------
    format
        What the file is.
    arrays
        Its arrays by name.
    metadata
        What else it says.
    """

    def __init__(
        self, format: str, arrays: Mapping[str, Array], metadata: Mapping[str, Any]
    ) -> None:
        self.format = format
        self.metadata = metadata
        self.headers: Mapping[str, Header] = {
            name: Header(array.dtype, array.shape) for name, array in arrays.items()
        }
        self._arrays = arrays

    def read(self, name: str) -> Array:
        """Return a copy of the array `name`."""
        return self._arrays[name].copy()


def read_json(file: BinaryIO) -> dict[str, Any]:
    """Return the dictionary that a JSON file is, in Python's plain types.

    Parameters
    ----------
    file : binary file
        Anything.

    Raises
    ------
    FormatError
        If it is no JSON in UTF-8 or no dictionary, a name stands twice in a dictionary, a
        number is none, or the file has more of anything than a network has reason to.

    Examples
    --------
    >>> import io
    >>> from gatewise.formats.json.files import read_json
    >>> read_json(io.BytesIO(b'{"weights": [1, 2.5]}'))
    {'weights': [1, 2.5]}
    >>> read_json(io.BytesIO(b'{"weights": [NaN]}'))
    Traceback (most recent call last):
    gatewise.formats.errors.FormatError: the file holds NaN, which is no number of JSON's
    """
    size = file.seek(0, os.SEEK_END)
    if size > _MOST_BYTES:
        raise FormatError(f"should be JSON of at most {_MOST_BYTES >> 20} MiB, got more")
    file.seek(0)
    data = file.read(size)
    # The mark that some editors put before UTF-8 says nothing.
    found = parse_json(data.removeprefix(codecs.BOM_UTF8), "the file")
    if not isinstance(found, dict):
        raise FormatError(f"should be a dictionary in JSON, got {_brief(found)}")
    return found


def numbers(value: object, name: str, axes: int | None = None) -> Array:
    """Return lists of numbers, one in another, as an array of float32.

    Parameters
    ----------
    value
        What `read_json` gave.
    name
        What the errors call it.
    axes
        How many axes the array should have, if that is known.

    Raises
    ------
    ValueError
        If the lists of one level differ in length, something else than a number is in them
        (True and False are none), or a number that float32 cannot hold.

    Examples
    --------
    >>> from gatewise.formats.json.files import numbers
    >>> numbers([[1, 2], [3, 4.5]], "weight")
    array([[1. , 2. ],
           [3. , 4.5]], dtype=float32)
    """
    level: list[Any] = [value]
    shape: list[int] = []
    while level and all(isinstance(part, list) for part in level):
        sizes = {len(part) for part in level}
        if len(sizes) > 1:
            raise ValueError(
                f"{name} should have lists of one length, got one of {max(sizes)} "
                f"and one of {min(sizes)}"
            )
        shape.append(sizes.pop())
        level = [one for part in level for one in part]
    if not shape or (axes is not None and len(shape) != axes):
        wanted = (
            "lists of numbers" if axes is None else f"numbers in {axes} levels of lists"
        )
        raise ValueError(f"{name} should be {wanted}, got {_brief(value)}")
    if len(shape) > _MOST_AXES:
        raise ValueError(f"{name} should have at most {_MOST_AXES} axes, got {len(shape)}")
    if not set(map(type, level)) <= {int, float}:
        other = next(one for one in level if type(one) not in (int, float))
        raise ValueError(f"{name} should hold numbers, got {_brief(other)}")
    with np.errstate(over="ignore"):
        try:
            array = np.array(level, np.float64).astype(np.float32)
        except OverflowError:
            array = np.array([np.inf], np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} should hold numbers of float32, got one beyond")
    return array.reshape(shape)


def numbers_in(
    value: Mapping[str, Any], prefix: str = ""
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the lists of numbers in nested dictionaries, and what else there is.

    Their names have a dot between those of the dictionaries that they are in.

    Raises
    ------
    ValueError
        If two have the same name, or the lists of one level differ in length.
    """
    arrays: dict[str, Array] = {}
    rest: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            found, other = numbers_in(entry, f"{prefix}{key}.")
            if repeated := arrays.keys() & found.keys():
                raise ValueError(f"{min(repeated)!r} should be there once, got it twice")
            arrays |= found
            if other or not found:
                rest[key] = other
        elif _has_numbers(entry):
            name = f"{prefix}{key}"
            if name in arrays:
                raise ValueError(f"{name!r} should be there once, got it twice")
            arrays[name] = numbers(entry, name)
        else:
            rest[key] = entry
    return arrays, rest


@contextmanager
def format_errors() -> Iterator[None]:
    """Let a ValueError that what a file says has raised be a `FormatError`."""
    try:
        yield
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(str(error)) from error


def _has_numbers(value: object) -> bool:
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(value, list) and type(first) in (int, float)


def _brief(value: object) -> str:
    return reprlib.repr(value)
