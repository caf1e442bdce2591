"""The groups, arrays and attributes of an HDF5 file, each checked as it is found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.messages import (
    AttributeParts,
    Layout,
    Type,
    attribute_parts,
    filters_of,
    layout_of,
    shape_of,
    type_of,
)
from gatewise.formats.hdf5.objects import (
    ATTRIBUTE,
    EXTERNAL,
    FILTERS,
    LAYOUT,
    MORE_ATTRIBUTES,
    SHAPE,
    TYPE,
    Message,
    Texts,
    chunks_of,
    has_more_attributes,
    is_group,
    messages_of,
    names_in,
)
from gatewise.formats.hdf5.sizes import Bytes
from gatewise.formats.hdf5.storage import Piece, Stored, native

__all__ = ["Tree"]

_MOST_OBJECTS = 65_536
_LONGEST_PATH = 4096
_DEEPEST = 64
# What is kept of a name at least, and of a chunk.
_NAME_BYTES = 200
_CHUNK_BYTES = 250


class Tree:
    """What is in an HDF5 file.

    Parameters
    ----------
    source : Bytes

    Attributes
    ----------
    stored : dict of str to Stored
        The arrays, by path.
    attributes : dict of str to dict
        Of each group or array that has some, by path; the outermost group's is empty.
    """

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._texts = Texts(source, self._take)
        # Of the bytes that arrays can have, each of which is in one place.
        self._stored_left = source.size
        self._room = self._left = source.room
        # For chunks one at a time, but time goes into all of them.
        self._unpacked_left = self._room
        self._seen: set[int] = set()
        self.stored: dict[str, Stored] = {}
        self.attributes: dict[str, dict[str, Any]] = {}

    def walk(self, root: int) -> None:
        """Take in everything below the group at this address.

        Raises
        ------
        FormatError
            If there is anything that should not be.
        """
        waiting = [("", root)]
        while waiting:
            path, place = waiting.pop()
            self._see(path, place)
            try:
                messages = messages_of(self._source, place)
                attributes = self._attributes(messages)
                if attributes:
                    self.attributes[path] = attributes
                if is_group(messages):
                    names = names_in(self._source, messages)
                    _check_names([name for name, _ in names])
                    self._take((len(path) + _NAME_BYTES) * len(names), "its names")
                    below = [(_joined(path, name), where) for name, where in names]
                    waiting += reversed(below)
                elif path:
                    self.stored[path] = self._array(messages, attributes)
                else:
                    raise FormatError("is no group")
            except FormatError as error:
                raise FormatError(f"{path or '/'!r}: {error}") from error

    def _see(self, path: str, place: int) -> None:
        if place in self._seen:
            raise FormatError(f"{path!r} is there twice, under two names")
        self._seen.add(place)
        if len(self._seen) > _MOST_OBJECTS:
            raise FormatError(f"has more than {_MOST_OBJECTS} groups and arrays")
        if len(path) > _LONGEST_PATH or path.count("/") > _DEEPEST:
            raise FormatError(f"{path[:100]!r} is nested too deep")

    def _take(self, count: int, what: str) -> None:
        self._left -= count
        if self._left < 0:
            raise FormatError(
                f"{what} would take more memory than the {self._room} bytes that a file "
                f"of {self._source.size} bytes may: 64 MiB, or 32 times its size"
            )

    def _array(self, messages: list[Message], attributes: dict[str, Any]) -> Stored:
        parts: dict[int, Message] = {}
        for message in messages:
            if message.kind == EXTERNAL:
                raise FormatError("is stored in other files, which are not opened")
            if message.kind in (SHAPE, TYPE, LAYOUT, FILTERS):
                if message.kind in parts:
                    raise FormatError("is damaged: it says something twice")
                parts[message.kind] = message
        if not parts.keys() >= {SHAPE, TYPE, LAYOUT}:
            raise FormatError("is neither a group nor an array")
        shape = shape_of(parts[SHAPE].content)
        if shape is None:
            raise FormatError("is an array without any shape")
        stored = _stored(type_of(parts[TYPE].content), shape, attributes)
        nbytes = math.prod(shape) * stored.dtype.itemsize
        widest = max(stored.dtype.itemsize, stored.header.dtype.itemsize)
        self._take(_at_least_one(shape) * widest, f"an array of shape {shape}")
        layout = layout_of(parts[LAYOUT].content)
        filters: tuple[tuple[int, int], ...] = ()
        if FILTERS in parts:
            filters = filters_of(parts[FILTERS].content)
        if layout.chunks or layout.kind in ("tree", "single", "implicit"):
            return self._chunked(stored._replace(filters=filters), layout)
        if filters:
            raise FormatError("has filters, but no chunks")
        if not nbytes:
            return stored
        has = len(layout.content) if layout.kind == "compact" else layout.length
        if has != nbytes:
            raise FormatError(f"should have {nbytes} bytes, got {has}")
        if layout.kind == "compact":
            return stored._replace(compact=layout.content)
        return stored._replace(pieces=(self._inside(Piece(layout.place, nbytes)),))

    def _inside(self, piece: Piece) -> Piece:
        if piece.place + piece.length > self._source.size:
            raise FormatError(
                f"is not in the file: it should have {piece.length} bytes at {piece.place}"
            )
        self._stored_left -= piece.length
        if self._stored_left < 0:
            raise FormatError("overlaps others: there are fewer bytes than arrays have")
        return piece

    def _chunked(self, stored: Stored, layout: Layout) -> Stored:
        shape, chunks = stored.header.shape, layout.chunks
        if len(chunks) != len(shape) or 0 in chunks or not chunks:
            raise FormatError(f"has chunks of shape {chunks}")
        nbytes = math.prod(chunks) * stored.dtype.itemsize
        self._take(nbytes, f"a chunk of shape {chunks}")
        corners = [range(0, n, length) for n, length in zip(shape, chunks, strict=True)]
        count = math.prod(len(axis) for axis in corners)
        if count > self._source.size:
            raise FormatError(f"has {count} chunks in a file of {self._source.size} bytes")
        self._take(_CHUNK_BYTES * count, f"{count} chunks")
        self._unpacked_left -= count * nbytes
        if stored.filters and self._unpacked_left < 0:
            raise FormatError(
                f"has {count} chunks of shape {chunks}: to unpack them and those before "
                f"would give more than {self._room} bytes, 64 MiB or 32 times the file"
            )
        pieces: dict[tuple[int, ...], Piece] = {}
        for piece in self._pieces(stored, layout, nbytes, count) if count else ():
            inside = all(
                start in axis for start, axis in zip(piece.corner, corners, strict=True)
            )
            if not inside or piece.corner in pieces:
                raise FormatError(f"has a chunk that is nowhere in it, at {piece.corner}")
            if not stored.filters and piece.length != nbytes:
                raise FormatError(f"has a chunk of {piece.length} bytes, not {nbytes}")
            pieces[piece.corner] = self._inside(piece)
        if len(pieces) != count:
            raise FormatError(f"should have {count} chunks, got {len(pieces)}")
        return stored._replace(pieces=tuple(pieces.values()), chunks=chunks)

    def _pieces(
        self, stored: Stored, layout: Layout, nbytes: int, count: int
    ) -> Iterable[Piece]:
        axes = len(layout.chunks)
        if layout.kind == "tree":
            # There is one more axis, that of an element's bytes.
            found = chunks_of(self._source, layout.place, axes + 1)
            return (piece._replace(corner=piece.corner[:-1]) for piece in found)
        if layout.kind == "single":
            length = nbytes if layout.length < 0 else layout.length
            return [Piece(layout.place, length, (0,) * axes, layout.skipped)]
        if stored.filters:
            raise FormatError("has filters where there can be none")
        grid = [
            -(-n // length)
            for n, length in zip(stored.header.shape, layout.chunks, strict=True)
        ]
        return (
            Piece(
                layout.place + number * nbytes,
                nbytes,
                tuple(i * n for i, n in zip(index, layout.chunks, strict=True)),
            )
            for number, index in enumerate(np.ndindex(*grid))
        )

    def _attributes(self, messages: list[Message]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, content in messages:
            if kind == MORE_ATTRIBUTES and has_more_attributes(content):
                raise FormatError("keeps its attributes in a heap, which is not read")
            if kind != ATTRIBUTE:
                continue
            parts = attribute_parts(content)
            if parts.name in found:
                raise FormatError(f"has the attribute {parts.name[:100]!r} twice")
            try:
                found[parts.name] = self._value(parts)
            except FormatError as error:
                name = parts.name[:100]
                raise FormatError(f"attribute {name!r} {error}") from error
        return found

    def _value(self, parts: AttributeParts) -> Any:
        """The value of an attribute in Python's plain types."""
        shape, word, size = parts.shape, parts.type.word, parts.type.size
        if shape is None:
            return None
        self._take(_at_least_one(shape) * max(size, 8), f"of shape {shape}")
        if word not in ("text", "texts"):
            if word in ("bytes", "bfloat16"):
                raise FormatError("should hold numbers or texts, got bytes")
            dtype = np.dtype("i1" if word == "bool" else word)
            values = np.frombuffer(parts.content.content, dtype).reshape(shape)
            return (values != 0 if word == "bool" else values).tolist()
        texts = np.empty(shape, object)
        for index in np.ndindex(*shape):
            block = parts.content
            raw = self._texts.read(block) if word == "texts" else block.text(size)
            texts[index] = _decoded(raw)
        return texts.tolist() if shape else texts[()]


def _at_least_one(shape: tuple[int, ...]) -> int:
    """How many elements there are, or would be with 1 in the place of 0."""
    return math.prod(max(length, 1) for length in shape)


def _stored(of_type: Type, shape: tuple[int, ...], attributes: dict[str, Any]) -> Stored:
    word = of_type.word
    if word == "bytes" and of_type.size == 2 and attributes.get("dtype") == "bfloat16":
        # As Keras writes it, for which HDF5 had no type.
        word = "bfloat16"
    if word == "bfloat16":
        return Stored(Header(np.dtype(np.float32), shape, word), np.dtype("<u2"))
    if word == "bool":
        return Stored(Header(np.dtype(np.bool_), shape), np.dtype(np.int8))
    if word in ("text", "texts", "bytes"):
        raise FormatError(f"should hold numbers of 1, 2, 4 or 8 bytes, got {word}")
    dtype = np.dtype(word)
    return Stored(Header(native(dtype), shape), dtype)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise FormatError(f"holds no text: {raw[:40]!r}") from None


def _check_names(names: list[bytes]) -> None:
    if len(set(names)) != len(names):
        raise FormatError("has the same name twice")
    for name in names:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = ""
        if text in ("", ".", "..") or "/" in text or not text.isprintable():
            raise FormatError(f"has a name that is none: {name[:100]!r}")


def _joined(path: str, name: bytes) -> str:
    return f"{path}/{name.decode()}" if path else name.decode()
