"""Arrays in a ``.npz`` file: written as `numpy.savez` does, and read without any trust.

What a file says of itself is compared with the bytes that it has before memory is taken for
it, so that no file can make its reader use much more than its own size. Members that are
compressed, which `numpy.savez` never writes, are refused for that reason.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header

Array = NDArray[Any]

__all__ = ["Archive", "Header", "write_arrays"]

_SUFFIX = ".npy"
_PREAMBLE = b"\x93NUMPY\x01\x00"
# As NumPy writes it for the arrays that there can be; so nothing has to be evaluated.
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufc]\d{1,2})', 'fortran_order': (?:True|False), "
    rb"'shape': \(((?:\d{1,19}, ){0,31}(?:\d{1,19},?)?)\), \} *\n"
)
# Of the list of members, which is read in one piece: enough for 30,000 arrays.
_LONGEST_READ = 1 << 22


class Archive:
    """The arrays of an open file: all headers at once, the data when it is asked for.

    Parameters
    ----------
    file : binary file

    Attributes
    ----------
    headers : dict of str to Header

    Raises
    ------
    ValueError
        Here and from `read`, if this is no ``.npz`` file of numbers or a damaged one.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from gatewise.formats.npz import Archive, write_arrays
    >>> with tempfile.TemporaryFile() as file:
    ...     write_arrays(file, {"weight": np.ones((2, 3))})
    ...     archive = Archive(file)
    ...     print(archive.headers["weight"].shape, archive.read("weight").sum())
    (2, 3) 6.0
    """

    def __init__(self, file: BinaryIO) -> None:
        with _one_error():
            self._archive = zipfile.ZipFile(_Bounded(file))
            self._members = self._named(self._archive.infolist())
            if sum(info.file_size for info in self._members.values()) > _size(file):
                raise ValueError("its arrays overlap")
            self.headers = {name: self._header(name) for name in self._members}

    def read(self, name: str) -> Array:
        """Return the array `name`."""
        with _one_error(), self._archive.open(self._members[name]) as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            # The checksum is compared when the end is found.
            if member.read(1):
                raise ValueError(f"{name!r} goes on after its end")
        return np.asarray(array, self.headers[name].dtype)

    def _named(self, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if self._archive.comment:
            raise ValueError("it has a comment")
        named = {}
        for info in members:
            name = info.filename.removesuffix(_SUFFIX)
            if name == info.filename or name in named:
                raise ValueError(f"a member is no array, or there twice: {info.filename!r}")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name!r} is compressed")
            if info.compress_size != info.file_size:
                raise ValueError(f"{name!r} has two sizes")
            named[name] = info
        return named

    def _header(self, name: str) -> Header:
        info = self._members[name]
        with self._archive.open(info) as member:
            start = member.read(len(_PREAMBLE) + 2)
            length = int.from_bytes(start[len(_PREAMBLE) :], "little")
            said = _HEADER.fullmatch(member.read(length))
        if not start.startswith(_PREAMBLE) or said is None:
            raise ValueError(f"{name!r} is no array of numbers")
        dtype = np.dtype(said[1].decode()).newbyteorder("=")
        shape = tuple(int(size) for size in said[2].split(b",") if size.strip())
        if len(start) + length + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{name!r} has more bytes than its shape says, or fewer")
        return Header(dtype, shape)


def write_arrays(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write `arrays`, of numbers only, to an open file; the example is at `Archive`.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise TypeError(f"{name} should hold numbers, got dtype {array.dtype}")
    archive = zipfile.ZipFile(file, "w")
    try:
        for name, array in arrays.items():
            # Without the time, which says nothing and which zip files have from 1980 only.
            info = zipfile.ZipInfo(name + _SUFFIX)
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.close()
    except BaseException:
        # To close it would finish what is not whole, or raise another error than this.
        archive.fp = None
        raise


class _Bounded:
    """A file that nobody reads more of at once than there can be reason to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _LONGEST_READ:
            raise ValueError(f"its list of members has {size} bytes")
        return self._file.read(size if size >= 0 else _LONGEST_READ)


@contextmanager
def _one_error() -> Iterator[None]:
    """Damaged files make zipfile and NumPy raise a dozen of types; let it be one."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
