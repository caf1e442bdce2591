"""What format a file has: told by its content, and by its suffix where nothing else tells.

`READ` is the table of what is read; what is known but not read is refused by its name, with
what can be done instead, since a download often is something else than its suffix says.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import PurePath
from typing import Any, BinaryIO

from gatewise.formats.archives.zips import open_zip
from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError

__all__ = ["READ", "expecting", "not_wanted", "opener", "recognised"]

# The formats, each with the function that opens it, which is imported when it is needed.
READ = {
    "safetensors": "gatewise.formats.safetensors.open_safetensors",
    "npz": "gatewise.formats.npz.open_npz",
    "npy": "gatewise.formats.npz.open_npy",
    "pytorch": "gatewise.formats.pytorch.reading.open_pytorch",
    "keras": "gatewise.formats.keras.open_keras",
    "hdf5": "gatewise.formats.hdf5.reading.open_hdf5",
    "onnx": "gatewise.formats.onnx.open_onnx",
    # Of a Neural Amp Modeler, RTNeural, AIDA-X or GuitarML, or with arrays in lists.
    "json": "gatewise.formats.json.networks.open_json",
    # A tar archive with one file of the other formats in it, or such a file alone,
    # compressed by gzip.
    "tar": "gatewise.formats.archives.packed.open_packed",
    "gzip": "gatewise.formats.archives.packed.open_packed",
}

# What errors call them.
_WORDS = {
    "safetensors": "a safetensors file",
    "npz": "NumPy's .npz file",
    "npy": "NumPy's .npy file",
    "pytorch": "a file of PyTorch",
    "keras": "a .keras file",
    "hdf5": "an HDF5 file",
    "onnx": "a model of ONNX",
    "json": "a JSON file",
    "tar": "a tar archive",
    "gzip": "a file compressed by gzip",
}

# As much as tells one from another.
_START = 1 << 16
_TAR_MAGIC = slice(257, 262)
# The pickle of the number that PyTorch's files began with before they were zip archives.
_OLD_PYTORCH = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
# Where HDF5 looks for its beginning, behind what a user may have put before it.
_HDF5_PLACES = (0, 512, 1024, 2048)

_NOT_READ: list[tuple[Callable[[bytes], Any], str]] = [
    (
        re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html)", re.I | re.S).match,
        "is an HTML page, which a download can give instead; download the file itself",
    ),
    (
        re.compile(rb"\s*<\?xml\b").match,
        "is XML, as servers send their errors in; download the file itself",
    ),
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/").match,
        "is a pointer of Git LFS, which stands for the file; `git lfs pull` gets it",
    ),
    (
        lambda start: start[4:8] == b"TFL3",
        "is a TensorFlow Lite model, which is not read; the Keras or ONNX file of it is",
    ),
    (lambda start: start.startswith(b"GGUF"), "is a GGUF file, which is not read"),
    (
        re.compile(rb"\x80[\x02-\x05]").match,
        "is a pickle of Python's, which could run code and is not read; "
        "save its arrays by numpy.savez",
    ),
    (lambda start: start.startswith(b"BZh"), "is compressed by bzip2; unpack it"),
    (lambda start: start.startswith(b"\xfd7zXZ\0"), "is compressed by xz; unpack it"),
    (
        lambda start: start.startswith(b"\x28\xb5\x2f\xfd"),
        "is compressed by zstd; unpack it",
    ),
    (lambda start: start.startswith(b"7z\xbc\xaf\x27\x1c"), "is a 7z archive; unpack it"),
    (lambda start: start.startswith(b"Rar!"), "is a RAR archive; unpack it"),
]
# Of JSON, by words that stand in it: what is read, and what is not.
_NETWORK = re.compile(rb'"(?:architecture|in_shape|state_dict)"\s*:')
_JSON = [
    (rb'"weight_map"\s*:', "is the index of a model in several files; open each of them"),
    (rb'"weightsManifest"\s*:', "is a TensorFlow.js model, which is not read"),
    (
        rb'"class_name"\s*:|"keras_version"\s*:',
        "is what Keras says of a model, without its weights",
    ),
]
# The numbers and kinds of the fields that an ONNX model has, and a SavedModel.
_ONNX_FIELDS = {
    *((number, 0) for number in (1, 5)),
    *((number, 2) for number in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26)),
}
_ONNX_GRAPH = (7, 2)
_SAVED_MODEL_FIELDS = {(1, 0), (2, 2)}
_MOST_FIELDS = 10_000


def opener(name: str) -> Callable[[BinaryIO], Container]:
    """Return the function of `READ` that opens a format."""
    module, _, function = READ[name].rpartition(".")
    found: Callable[[BinaryIO], Container] = getattr(import_module(module), function)
    return found


def recognised(
    file: BinaryIO, name: str | os.PathLike[str], *, by_fields: bool = True
) -> str:
    r"""Return which of the formats in `READ` a file has.

    Parameters
    ----------
    file : binary file
        That can be sought in.
    name : path
        What it is called: only a suffix of ``.onnx`` counts, and only where the content
        says nothing.
    by_fields : bool, default True
        Whether to look through the file for what only ONNX has, which takes longest.

    Raises
    ------
    FormatError
        If it is something else; known formats that are not read are named.

    Examples
    --------
    >>> import io
    >>> from gatewise.formats.recognising import recognised
    >>> recognised(io.BytesIO(b"\x93NUMPY\x01\x00"), "weights")
    'npy'
    >>> recognised(io.BytesIO(b"GGUF"), "weights.npz")
    Traceback (most recent call last):
    gatewise.formats.errors.FormatError: is a GGUF file, which is not read
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(_START)
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return _recognised_zip(file)
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start[_TAR_MAGIC] == b"ustar":
        return "tar"
    if _OLD_PYTORCH.match(start):
        return "pytorch"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if any(start[place : place + len(_HDF5)] == _HDF5 for place in _HDF5_PLACES):
        return "hdf5"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    for is_it, what in _NOT_READ:
        if is_it(start):
            raise FormatError(what)
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{":
        _check_json(start)
        return "json"
    fields = _fields(file, size) if by_fields else None
    return _recognised_message(fields, PurePath(os.fsdecode(name)).name)


@contextmanager
def expecting(
    file: BinaryIO, name: str | os.PathLike[str], formats: Collection[str], wanted: str
) -> Iterator[None]:
    """Let a reader of some formats, where it fails, say what else a file is.

    Parameters
    ----------
    file, name
        As for `recognised`.
    formats
        Those of `READ` that the block reads: of a file of these, its error stays.
    wanted : str
        What the file should be.

    Raises
    ------
    FormatError
        Where the block raises one.

    Examples
    --------
    >>> import io
    >>> from gatewise.formats.errors import FormatError
    >>> from gatewise.formats.recognising import expecting
    >>> file = io.BytesIO(b"GGUF")
    >>> with expecting(file, "weights", ["npz"], "NumPy's .npz file"):
    ...     raise FormatError("is damaged")
    Traceback (most recent call last):
    gatewise.formats.errors.FormatError: is a GGUF file, which is not read
    """
    try:
        yield
    except FormatError:
        try:
            found = recognised(file, name)
        except _UnknownFormat:
            found = None
        if found is None or found in formats:
            raise
        raise not_wanted(found, wanted) from None


def not_wanted(found: str, wanted: str) -> FormatError:
    """Return the error for a file of another format than the one that is wanted."""
    return FormatError(
        f"should be {wanted}, got {_WORDS[found]}; `gatewise inspect` says how to load that"
    )


class _UnknownFormat(FormatError):
    """Nothing is known of a file."""


def _recognised_zip(file: BinaryIO) -> str:
    names = open_zip(file).names
    files = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in files:
        return "pytorch"
    if "model.weights.h5" in files:
        return "keras"
    if all(name.endswith(".npy") for name in names):
        return "npz"
    if "archive_format" in files:
        raise FormatError("is a program that torch.export saved, which is not read")
    some = ", ".join(repr(name[:40]) for name in names[:3])
    raise FormatError(f"is a zip archive of no known format: it has {some} in it")


def _check_json(start: bytes) -> None:
    """Refuse the descriptions of models whose weights are elsewhere."""
    if not _NETWORK.search(start):
        for words, what in _JSON:
            if re.search(words, start):
                raise FormatError(what)


def _recognised_message(fields: set[tuple[int, int]] | None, name: str) -> str:
    """Tell protocol buffers apart by their outermost fields."""
    if fields is not None and _ONNX_GRAPH in fields and fields <= _ONNX_FIELDS:
        return "onnx"
    if name.lower().endswith(".onnx"):
        return "onnx"
    if fields == _SAVED_MODEL_FIELDS or (fields and name.lower().endswith(".pb")):
        raise FormatError(
            "is a TensorFlow graph or SavedModel, which is not read; tf2onnx makes ONNX of "
            "it, and Keras a .keras file"
        )
    raise _UnknownFormat(f"is of no format that is read: {', '.join(READ)}")


def _fields(file: BinaryIO, size: int) -> set[tuple[int, int]] | None:
    """The numbers and kinds of a message's fields; None if it is no message."""
    file.seek(0)
    found: set[tuple[int, int]] = set()
    place = 0
    for _ in range(_MOST_FIELDS):
        if place == size:
            return found
        tag = _number(file)
        if tag is None:
            return None
        kind = tag & 7
        # By how many bytes each kind says its length: varint, 8, counted, 4.
        length = {0: 0, 1: 8, 5: 4}.get(kind)
        if kind in (0, 2):
            number = _number(file)
            if number is None:
                return None
            length = number if kind == 2 else 0
        if length is None or not 0 < tag >> 3 < 1 << 29:
            return None
        place = file.tell() + length
        if place > size:
            return None
        file.seek(place)
        found.add((tag >> 3, kind))
    return None


def _number(file: BinaryIO) -> int | None:
    """The number that comes next, seven bits a byte."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
