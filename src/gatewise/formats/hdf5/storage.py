"""Where an HDF5 file keeps the numbers of a dataset, and how they are taken from there."""

from __future__ import annotations

import math
import sys
import zlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError
from gatewise.formats.small_floats import widened

Array = NDArray[Any]

__all__ = ["DEFLATE", "FLETCHER32", "SHUFFLE", "Piece", "Stored", "array_of"]

# The numbers that HDF5 has for these filters.
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
_WORDS = 1 << 16


class Piece(NamedTuple):
    """Some bytes of the file: where in the array they belong, and which filters they lack.

    Bit i of `skipped` says that filter i was not applied.
    """

    place: int
    length: int
    corner: tuple[int, ...] = ()
    skipped: int = 0


class Stored(NamedTuple):
    """A dataset: what it is, and where its bytes are.

    `dtype` is that of the file, with its byte order. There are no `chunks` where all bytes
    are one piece, and no pieces where the bytes are in `compact`, or none at all.
    `filters` has the number of each and its first value.
    """

    header: Header
    dtype: np.dtype[Any]
    pieces: tuple[Piece, ...] = ()
    chunks: tuple[int, ...] = ()
    filters: tuple[tuple[int, int], ...] = ()
    compact: bytes = b""


def array_of(file: BinaryIO, stored: Stored) -> Array:
    """Return the numbers of a dataset.

    Raises
    ------
    FormatError
        If its bytes are damaged.
    """
    shape = stored.header.shape
    raw: Array
    if stored.chunks:
        raw = np.empty(shape, stored.dtype)
        for piece in stored.pieces:
            _place_chunk(raw, piece, _unpacked(_bytes(file, piece), piece, stored), stored)
    else:
        content = stored.compact
        if stored.pieces:
            content = _bytes(file, stored.pieces[0])
        raw = np.frombuffer(bytearray(content), stored.dtype).reshape(shape)
    return _as_header_says(raw, stored.header)


def _as_header_says(raw: Array, header: Header) -> Array:
    if header.stored == "bfloat16":
        return widened(raw, "BF16")
    if header.dtype == np.bool_:
        return np.asarray(raw != 0)
    return np.ascontiguousarray(raw, header.dtype).reshape(header.shape)


def _bytes(file: BinaryIO, piece: Piece) -> bytes:
    file.seek(piece.place)
    content = file.read(piece.length)
    if len(content) != piece.length:
        raise FormatError("is cut off")
    return content


def _place_chunk(raw: Array, piece: Piece, content: bytes, stored: Stored) -> None:
    chunk = np.frombuffer(content, stored.dtype).reshape(stored.chunks)
    # Chunks at an end of the array go on past it.
    target = tuple(
        slice(start, min(start + length, total))
        for start, length, total in zip(piece.corner, stored.chunks, raw.shape, strict=True)
    )
    part = raw[target]
    part[...] = chunk[tuple(slice(length) for length in part.shape)]


def _unpacked(content: bytes, piece: Piece, stored: Stored) -> bytes:
    """The bytes of a chunk, through its filters from the last to the first."""
    size = math.prod(stored.chunks) * stored.dtype.itemsize
    for index, (kind, value) in reversed(list(enumerate(stored.filters))):
        if piece.skipped >> index & 1:
            continue
        if kind == DEFLATE:
            content = _inflated(content, size)
        elif kind == SHUFFLE:
            content = _unshuffled(content, value)
        else:
            content = _summed(content)
    if len(content) != size:
        raise FormatError(f"has a chunk of {len(content)} bytes instead of {size}")
    return content


def _inflated(content: bytes, size: int) -> bytes:
    # A sum of four bytes may have been taken before.
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(content, size + 4)
    except zlib.error as error:
        raise FormatError(f"is damaged: {error}") from error
    if not stream.eof:
        raise FormatError(f"has a chunk that is cut off, or of more than {size} bytes")
    return inflated


def _unshuffled(content: bytes, size: int) -> bytes:
    """Elements of `size` bytes, which came as all first bytes, all second ones, ..."""
    count = len(content) // size
    whole = np.frombuffer(content, np.uint8, count * size).reshape(size, count)
    return whole.T.tobytes() + content[count * size :]


def _summed(content: bytes) -> bytes:
    """What stands before a checksum, if that is right."""
    body, stored = content[:-4], content[-4:]
    first, second = _fletcher32(body)
    sums = first.to_bytes(2, "little") + second.to_bytes(2, "little")
    # Before version 1.6.3 the bytes of each half came the other way round.
    if stored not in (sums, sums[1::-1] + sums[:1:-1]):
        raise FormatError("is damaged: the checksum of a chunk is another")
    return body


def _fletcher32(content: bytes) -> tuple[int, int]:
    padded = content + bytes(len(content) % 2)
    words = np.frombuffer(padded, ">u2").astype(np.uint64)
    first = second = 0
    for start in range(0, len(words), _WORDS):
        block = words[start : start + _WORDS]
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += first * len(block) + int((block * weights).sum())
        first += int(block.sum())
    return _folded(first), _folded(second)


def _folded(total: int) -> int:
    """The sum in 16 bits with the carry added again, which is 0 for nothing but 0."""
    return (total - 1) % 65535 + 1 if total else 0


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same dtype in this machine's byte order."""
    return dtype.newbyteorder("<" if sys.byteorder == "little" else ">")
