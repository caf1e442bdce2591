"""What an HDF5 file says of one array or attribute: its type, its shape, its storage.

Only what numbers and texts need is read. Everything else is refused by its name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.sizes import Block
from gatewise.formats.hdf5.storage import DEFLATE, FLETCHER32, SHUFFLE

__all__ = [
    "Layout",
    "Type",
    "attribute_parts",
    "filters_of",
    "layout_of",
    "shape_of",
    "type_of",
]

_MOST_AXES = 32
_FILTERS = (DEFLATE, SHUFFLE, FLETCHER32)
_CLASSES = {
    2: "times",
    4: "bits",
    6: "records",
    7: "references",
    9: "lists",
    10: "arrays",
    11: "complex numbers",
}
# Size in bytes; place of the sign, first bit, bits, place and bits of the exponent, place
# and bits of the fraction, bias: IEEE's, and the upper half of the second.
_FLOATS = {
    (2, 15, 0, 16, 10, 5, 0, 10, 15): "f2",
    (4, 31, 0, 32, 23, 8, 0, 23, 127): "f4",
    (8, 63, 0, 64, 52, 11, 0, 52, 1023): "f8",
    (2, 15, 0, 16, 7, 8, 0, 7, 127): "bfloat16",
}
_IMPLIED_ONE = 2


class Type(NamedTuple):
    """A type: NumPy's word for it, with the byte order, or another.

    The others are ``"bool"``; ``"bfloat16"``; ``"text"``, of `size` bytes; ``"texts"``,
    each of a length of its own; and ``"bytes"``, whose meaning is not said.
    """

    word: str
    size: int


class Layout(NamedTuple):
    """Where the bytes of an array are.

    `kind` is ``"compact"``, and they are in `content`; ``"contiguous"``, and `length` of
    them are at `place`; ``"tree"``, and a tree at `place` knows of chunks; ``"single"``,
    and there is one chunk; or ``"implicit"``, and the chunks follow each other from `place`
    on.
    """

    kind: str
    place: int = 0
    length: int = 0
    content: bytes = b""
    chunks: tuple[int, ...] = ()
    skipped: int = 0


def shape_of(block: Block) -> tuple[int, ...] | None:
    """Return a shape, or None for nothing at all."""
    version, rank, flags = block.integer(1), block.integer(1), block.integer(1)
    if version == 1:
        block.take(5)
        is_nothing = False
    elif version == 2:
        is_nothing = block.integer(1) == 2
    else:
        raise FormatError(f"has a shape of version {version}")
    if rank > _MOST_AXES:
        raise FormatError(f"has {rank} axes")
    if flags & ~1:
        raise FormatError("has axes in another order")
    shape = tuple(block.integer(8) for _ in range(rank))
    # What else a length could grow to follows, and does not matter.
    return None if is_nothing else shape


def type_of(block: Block) -> Type:
    """Return a type of numbers or texts.

    Raises
    ------
    FormatError
        If it is another.
    """
    first, bits, size = block.integer(1), block.integer(3), block.integer(4)
    kind, version = first & 15, first >> 4
    if not 1 <= version <= 5:
        raise FormatError(f"has a type of version {version}")
    found: Type | None = None
    if kind == 0:
        found = _whole(block, bits, size)
    elif kind == 1:
        found = _floating(block, bits, size)
    elif kind == 3:
        found = Type("text", size) if size else None
    elif kind == 5:
        found = Type("bytes", size)
    elif kind == 8:
        found = _named_values(block, bits, size, version)
    elif kind == 9 and bits & 15 == 1 and size == 16:
        found = Type("texts", size)
    if found is None:
        said = _CLASSES.get(kind, "another type")
        raise FormatError(f"should hold numbers of 1, 2, 4 or 8 bytes, got {said}")
    return found


def _whole(block: Block, bits: int, size: int) -> Type | None:
    offset, precision = block.integer(2), block.integer(2)
    if size not in (1, 2, 4, 8) or offset or precision != 8 * size:
        return None
    return Type(f"{'>' if bits & 1 else '<'}{'i' if bits & 8 else 'u'}{size}", size)


def _floating(block: Block, bits: int, size: int) -> Type | None:
    is_big, is_mixed = bits & 1, bits & 0x40
    measures = [block.integer(2), block.integer(2), *(block.integer(1) for _ in range(4))]
    word = _FLOATS.get((size, bits >> 8 & 255, *measures, block.integer(4)))  # type: ignore[arg-type]
    if word is None or is_mixed or bits >> 4 & 3 != _IMPLIED_ONE:
        return None
    if word == "bfloat16":
        return None if is_big else Type(word, size)
    return Type(f"{'>' if is_big else '<'}{word}", size)


def _named_values(block: Block, bits: int, size: int, version: int) -> Type | None:
    """The two values that h5py calls FALSE and TRUE; no others mean anything here."""
    base = type_of(block)
    if base.word not in ("<i1", ">i1") or bits & 0xFFFF != 2:
        return None
    names = []
    for _ in range(2):
        rest = block.content[block.place :]
        length = rest.find(b"\0") + 1
        names.append(block.take(length - 1 if length else len(rest)))
        block.take(-length % 8 + 1 if version < 3 else 1)
    is_bool = names == [b"FALSE", b"TRUE"] and block.take(2) == b"\0\1"
    return Type("bool", size) if is_bool and size == 1 else None


def layout_of(block: Block) -> Layout:
    """Return where the bytes of an array are.

    Raises
    ------
    FormatError
        If they are in other files, or kept track of as Keras never does.
    """
    version, kind = block.integer(1), block.integer(1)
    if version not in (3, 4, 5):
        raise FormatError(f"has a layout of version {version}")
    if kind == 0:
        return Layout("compact", content=block.take(block.integer(2)))
    if kind == 1:
        return Layout("contiguous", block.integer(8), block.integer(8))
    if kind == 3:
        raise FormatError("is put together from other arrays, which are not looked at")
    if kind != 2:
        raise FormatError(f"has a layout of kind {kind}")
    if version == 3:
        axes, place = block.integer(1), block.integer(8)
        chunks = tuple(block.integer(4) for _ in range(axes))
        # The last is the size of an element.
        return Layout("tree", place, chunks=chunks[:-1])
    flags, axes, width = block.integer(1), block.integer(1), block.integer(1)
    chunks = tuple(block.integer(width) for _ in range(axes))[:-1]
    index = block.integer(1)
    if index == 1:
        length, skipped = (block.integer(8), block.integer(4)) if flags & 2 else (-1, 0)
        return Layout("single", block.integer(8), length, chunks=chunks, skipped=skipped)
    if index == 2:
        return Layout("implicit", block.integer(8), chunks=chunks)
    raise FormatError(
        "has a list of chunks that is not read; h5repack --low=0 --high=0 makes another"
    )


def filters_of(block: Block) -> tuple[tuple[int, int], ...]:
    """Return each filter and its first value.

    Raises
    ------
    FormatError
        If one is none of gzip, shuffle and fletcher32, or there twice.
    """
    version, count = block.integer(1), block.integer(1)
    if version not in (1, 2):
        raise FormatError(f"has filters of version {version}")
    if version == 1:
        block.take(6)
    filters: list[tuple[int, int]] = []
    for _ in range(count):
        kind = block.integer(2)
        length = block.integer(2) if version == 1 or kind >= 256 else 0
        block.take(2)
        values = block.integer(2)
        block.take(length)
        found = [block.integer(4) for _ in range(values)]
        if version == 1 and values % 2:
            block.take(4)
        if kind not in _FILTERS or kind in [other for other, _ in filters]:
            raise FormatError("is packed by other filters than gzip, shuffle, fletcher32")
        value = found[0] if found else 1
        if kind == SHUFFLE and not 1 <= value <= 4096:
            raise FormatError(f"is shuffled by {value} bytes")
        filters.append((kind, value))
    return tuple(filters)


class AttributeParts(NamedTuple):
    """An attribute: its name, what it is, and its bytes."""

    name: str
    type: Type
    shape: tuple[int, ...] | None
    content: Block


def attribute_parts(block: Block) -> AttributeParts:
    """Return what an attribute is made of.

    Raises
    ------
    FormatError
        If it is no number and no text, or its bytes are missing.
    """
    version, flags = block.integer(1), block.integer(1)
    if not 1 <= version <= 3:
        raise FormatError(f"has an attribute of version {version}")
    lengths = [block.integer(2) for _ in range(3)]
    if version == 3:
        block.take(1)
    parts = []
    for length in lengths:
        parts.append(block.take(length))
        if version == 1:
            block.take(-length % 8)
    name = parts[0].split(b"\0", 1)[0].decode(errors="replace")
    try:
        if version > 1 and flags:
            raise FormatError("has a type with a name of its own")
        of_type = type_of(Block(parts[1], "a type"))
        shape = shape_of(Block(parts[2], "a shape"))
        count = 0 if shape is None else math.prod(shape)
        if of_type.size * count > block.left:
            raise FormatError(f"of shape {shape} is not in the file")
        content = Block(block.take(of_type.size * count), "a value")
    except FormatError as error:
        raise FormatError(f"attribute {name[:100]!r} {error}") from error
    return AttributeParts(name, of_type, shape, content)
