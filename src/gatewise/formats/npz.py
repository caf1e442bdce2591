"""Arrays in a ``.npz`` or ``.npy`` file, read without any trust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from gatewise.formats.archives.zips import Zip, open_zip
from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.npy import Npy, read_npy, read_npy_header, read_npy_texts

Array = NDArray[Any]

__all__ = ["open_npy", "open_npz"]

_SUFFIX = ".npy"
# The name that `numpy.savez` gives to an array without one.
_ONLY = "arr_0"


class _Npz:
    format = "npz"

    def __init__(self, archive: Zip) -> None:
        self._archive = archive
        self._found: dict[str, Npy] = {}
        self.headers: Mapping[str, Header] = {}
        texts = {}
        for member in archive.names:
            name = member.removesuffix(_SUFFIX)
            if name == member:
                raise FormatError(f"a member is no array: {member[:100]!r}")
            with archive.open(member) as stream:
                npy = read_npy_header(stream, name, archive.size(member))
                if npy.is_text:
                    texts[name] = read_npy_texts(stream, name, npy)
                else:
                    self._found[name] = npy
        self.headers = {name: npy.header for name, npy in self._found.items()}
        self.metadata: Mapping[str, Any] = texts

    def read(self, name: str) -> Array:
        npy = self._found[name]
        with self._archive.open(name + _SUFFIX) as stream:
            stream.read(npy.start)
            return read_npy(stream, name, npy)


class _OneArray:
    format = "npy"

    def __init__(self, file: BinaryIO, npy: Npy) -> None:
        self._file = file
        self._npy = npy
        self.headers: Mapping[str, Header] = {_ONLY: npy.header}
        self.metadata: Mapping[str, Any] = {}

    def read(self, name: str) -> Array:
        if name != _ONLY:
            raise KeyError(name)
        self._file.seek(self._npy.start)
        return read_npy(self._file, name, self._npy)


def open_npz(file: BinaryIO, *, deflated: bool = True) -> Container:
    """Look at what `numpy.savez` or `numpy.savez_compressed` wrote, headers only.

    Arrays may be of booleans, integers, float16 to float64, and complex numbers, in any
    byte order, of which they come in the machine's. Arrays of texts are in the `metadata`,
    as texts and lists of them.

    Parameters
    ----------
    file : binary file
        That can be sought in, and stays open as long as the container is used.
    deflated : bool, default True
        Whether members may be compressed.

    Returns
    -------
    Container

    Raises
    ------
    FormatError
        If it is no such file or a damaged one; if an array is of Python's objects, has
        fields, or is of floats that other machines do not have; and where `open_zip` does.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from gatewise.formats.npz import open_npz
    >>> file = io.BytesIO()
    >>> np.savez(file, weight=np.ones((2, 3)), cell="gru")
    >>> container = open_npz(file)
    >>> print(container.headers["weight"], container.metadata)
    float64 (2, 3) {'cell': 'gru'}
    >>> container.read("weight").sum()
    np.float64(6.0)
    """
    return _Npz(open_zip(file, deflated=deflated))


def open_npy(file: BinaryIO) -> Container:
    """Look at what `numpy.save` wrote: one array, which is called ``"arr_0"``.

    Raises
    ------
    FormatError
        If it is no array of numbers, or a damaged one.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from gatewise.formats.npz import open_npy
    >>> file = io.BytesIO()
    >>> np.save(file, np.arange(3))
    >>> open_npy(file).read("arr_0")
    array([0, 1, 2])
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    npy = read_npy_header(file, _ONLY, size)
    if npy.is_text:
        raise FormatError("is an array of texts, not of numbers")
    return _OneArray(file, npy)
