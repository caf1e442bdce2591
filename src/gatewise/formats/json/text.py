"""JSON out of a file, of which nothing is known: one meaning, and bounded memory."""

from __future__ import annotations

import json
import re
import reprlib
from itertools import accumulate
from typing import Any

from gatewise.formats.errors import FormatError

__all__ = ["parse_json"]

# Every value has one of these beside it, and takes some 60 bytes once it is parsed.
_SIGNS = (b"{", b"[", b",", b":")
_MOST_SIGNS = 1 << 22

# Python's own limit, which is at about this depth up to 3.11 and far away from 3.12 on.
_MOST_DEPTH = 900
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - set(_STEPS))


def parse_json(text: bytes, name: str, *, constants: bool = False) -> Any:
    """Return what JSON text in UTF-8 says.

    Parameters
    ----------
    text : bytes
    name : str
        What the errors call it.
    constants : bool, default False
        Whether NaN and Infinity are numbers, as Python writes them.

    Raises
    ------
    FormatError
        If it is no JSON, says two things under one name, is nested too deep, has a number
        of thousands of digits, or more values than a network's description can have.

    Examples
    --------
    >>> from gatewise.formats.json.text import parse_json
    >>> parse_json(b'{"a": 1, "b": [2.5]}', "header")
    {'a': 1, 'b': [2.5]}
    >>> parse_json(b'{"a": 1, "a": 2}', "header")
    Traceback (most recent call last):
    gatewise.formats.errors.FormatError: header says 'a' twice
    """
    if sum(map(text.count, _SIGNS)) > _MOST_SIGNS:
        raise FormatError(f"{name} has more than {_MOST_SIGNS} entries")
    if text.count(b"[") + text.count(b"{") > _MOST_DEPTH and _depth(text) > _MOST_DEPTH:
        raise FormatError(f"{name} goes too deep")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise FormatError(f"{name} says {reprlib.repr(key)} twice")
            found[key] = value
        return found

    def refused(constant: str) -> Any:
        raise FormatError(f"{name} holds {constant}, which is no number of JSON's")

    try:
        return json.loads(
            text.decode(),
            object_pairs_hook=once,
            parse_constant=None if constants else refused,
        )
    except FormatError:
        raise
    except RecursionError:
        raise FormatError(f"{name} goes too deep") from None
    except ValueError as error:
        raise FormatError(f"{name} is no JSON: {error}") from None


def _depth(text: bytes) -> int:
    """How many brackets are open at once, outside of strings."""
    brackets = _STRING.sub(b"", text).translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
