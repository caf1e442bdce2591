"""NumPy's own format of one array: what its header says, parsed and never evaluated."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError
from gatewise.formats.raw import byte_count, read_array

Array = NDArray[Any]

__all__ = ["Npy", "read_npy", "read_npy_header", "read_npy_texts"]

_MAGIC = b"\x93NUMPY"
_VERSIONS = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_LONGEST_HEADER = 1 << 16
# "descr": "<f4", "fortran_order": False or "shape": (2, 3), in any order; 2L is Python 2's.
_ITEM = re.compile(
    r"\s*(?P<q>['\"])(?P<key>descr|fortran_order|shape)(?P=q)\s*:\s*"
    r"(?:(?P<p>['\"])(?P<descr>[^'\"]{1,20})(?P=p)|(?P<order>True|False)"
    r"|\((?P<shape>[0-9, L]*)\)|(?P<other>\[|['\"]))\s*"
)
_SIZE = re.compile(r" *([0-9]{1,20})L? *")
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,8})")
_LONGEST_TEXTS = 1 << 22
_MOST_TEXTS = 1 << 16
_LAST_CHARACTER = 0x10FFFF


class Npy(NamedTuple):
    """Where an array begins after its header, and what it is.

    `dtype` has the file's byte order; one of texts has the kind S or U.
    """

    header: Header
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    start: int

    @property
    def is_text(self) -> bool:
        """Whether it is one of texts."""
        return self.dtype.kind in "SU"


def read_npy_header(stream: Any, name: str, size: int) -> Npy:
    """Read the header that `stream` begins with, in a file or a member of so many bytes.

    Raises
    ------
    FormatError
        If it is none of an array of numbers or texts, or the bytes after it are more than
        the array, or fewer. Longer floats than float64 are refused too, as they are other
        numbers on other machines.

    References
    ----------
    "numpy.lib.format", https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    shown = repr(name[:100])
    start = stream.read(len(_MAGIC) + 2)
    count = _VERSIONS.get((start[-2], start[-1])) if start.startswith(_MAGIC) else None
    if len(start) != len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise FormatError(f"{shown} is no array of numbers: it has no header of NumPy's")
    if count is None:
        version = f"{start[-2]}.{start[-1]}"
        raise FormatError(f"{shown} has a header of version {version}, up to 3.0 is read")
    length = int.from_bytes(stream.read(count), "little")
    if length > _LONGEST_HEADER:
        raise FormatError(f"{shown} has a header of {length} bytes, which is no array's")
    try:
        text = stream.read(length).decode("utf-8" if start[-2] == 3 else "latin-1")
    except UnicodeDecodeError:
        raise FormatError(f"{shown} has a header that is no text") from None
    descr, order, shape = _parsed(text, shown)
    dtype = _checked_dtype(descr, shown)
    begin = len(start) + count + length
    there = size - begin
    claimed = byte_count(name, shape, dtype.itemsize)
    if claimed != there:
        raise FormatError(
            f"{shown} has {there} bytes, and by its shape it should have {claimed}: "
            "more bytes than its shape says, or fewer"
        )
    return Npy(Header(dtype.newbyteorder("="), shape), dtype, order, begin)


def _parsed(text: str, shown: str) -> tuple[str, Literal["C", "F"], tuple[int, ...]]:
    wrong = FormatError(f"{shown} is no array of numbers: its header is {text[:80]!r}")
    text = text.rstrip()
    if not text.startswith("{") or not text.endswith("}"):
        raise wrong
    place, found = 1, {}
    while text[place:].strip() != "}":
        item = _ITEM.match(text, place)
        if item is None or item["key"] in found:
            raise wrong
        if item["other"]:
            raise FormatError(f"{shown} has fields or sub-arrays, which no network has")
        found[item["key"]] = item
        place = item.end()
        if text[place] == ",":
            place += 1
        elif text[place:] != "}":
            raise wrong
    if len(found) != 3:
        raise wrong
    descr, order, shape = (
        found[key][group]
        for key, group in (
            ("descr", "descr"),
            ("fortran_order", "order"),
            ("shape", "shape"),
        )
    )
    if descr is None or order is None or shape is None:
        raise wrong
    sizes = shape.split(",")
    if not sizes[-1].strip():
        sizes.pop()
    matches = [_SIZE.fullmatch(size) for size in sizes]
    if (len(sizes) == 1 and "," not in shape) or not all(matches):
        raise wrong
    axes = tuple(int(match[1]) for match in matches if match)
    return descr, "F" if order == "True" else "C", axes


def _checked_dtype(descr: str, shown: str) -> np.dtype[Any]:
    if re.fullmatch(r"[|<>=]?O\d*", descr):
        raise FormatError(f"{shown} holds objects of Python's, which could run code")
    if re.fullmatch(r"[<>=]?(f|c)(10|12|16|24|32)", descr) and descr[-3:] != "c16":
        raise FormatError(f"{shown} has dtype {descr!r}, which other machines have not")
    if not _DTYPE.fullmatch(descr):
        raise FormatError(f"{shown} is no array of numbers: its dtype is {descr!r}")
    return np.dtype(descr)


def read_npy(stream: Any, name: str, npy: Npy) -> Array:
    """Read an array of numbers from a `stream` that stands at the end of its header.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    array = read_array(stream, name, npy.dtype, npy.header.shape, npy.order)
    if stream.read(1):
        raise FormatError(f"{name[:100]!r} goes on after its end")
    return array


def read_npy_texts(stream: Any, name: str, npy: Npy) -> Any:
    """Return an array of texts as lists, or as one text if it has no axes.

    Raises
    ------
    FormatError
        If it is longer than what a network could need to say, or no text.
    """
    count = byte_count(name, npy.header.shape, 1)
    size = count * npy.dtype.itemsize
    if count > _MOST_TEXTS or size > _LONGEST_TEXTS:
        raise FormatError(
            f"{name[:100]!r} has {count} texts of {size} bytes, more than are read"
        )
    content = stream.read(size)
    if len(content) != size:
        raise FormatError(f"{name[:100]!r} is cut off")
    try:
        flat = np.frombuffer(content, npy.dtype)
        if npy.dtype.kind == "S":
            flat = np.char.decode(flat, "utf-8")
        elif (flat.view(npy.dtype.str[0] + "u4") > _LAST_CHARACTER).any():
            # Python would not raise a ValueError for these.
            raise ValueError
        return flat.reshape(npy.header.shape, order=npy.order).tolist()
    except ValueError:
        raise FormatError(f"{name[:100]!r} holds what is no text") from None
