"""The objects of an HDF5 file: headers, the names in a group, texts, lists of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.sizes import UNDEFINED, Block, Bytes
from gatewise.formats.hdf5.storage import Piece

__all__ = [
    "ATTRIBUTE",
    "EXTERNAL",
    "FILTERS",
    "LAYOUT",
    "MORE_ATTRIBUTES",
    "SHAPE",
    "TYPE",
    "Message",
    "Texts",
    "chunks_of",
    "has_more_attributes",
    "is_group",
    "messages_of",
    "names_in",
    "root_of",
]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Kinds of messages, of which a header is made.
SHAPE, LINKS, TYPE, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
FILTERS, ATTRIBUTE, CONTINUED, NAMES, MORE_ATTRIBUTES = 0x0B, 0x0C, 0x10, 0x11, 0x15
# Nothing, values for what was never written, comments, times, sizes and counts.
_HARMLESS = (0x00, 0x04, 0x05, 0x0A, 0x0D, 0x0E, 0x12, 0x13, 0x16)
_MEANT = (
    SHAPE,
    LINKS,
    TYPE,
    LINK,
    EXTERNAL,
    LAYOUT,
    FILTERS,
    ATTRIBUTE,
    CONTINUED,
    NAMES,
    MORE_ATTRIBUTES,
)
_SHARED = 0x02
_MOST_MESSAGES = 65_536
_MOST_NAMES = 65_536
_LONGEST_NAME = 1024
# What is kept of a text's place.
_PLACE_BYTES = 200
_REPACK = "which is not read; h5repack --low=0 --high=0 makes another file of it"


class Message(NamedTuple):
    """A part of a header."""

    kind: int
    content: Block


def root_of(source: Bytes) -> int:
    """Return the address of the outermost group, once the file's beginning has been read.

    Raises
    ------
    FormatError
        If this is no HDF5 file, begins with something else, ends early, or says that a part
        of it is in another file.
    """
    if source.size < 48:
        raise FormatError("is no HDF5 file, or one that is cut off")
    block = source.at(0, min(source.size, 104), "its beginning")
    if block.take(8) != _SIGNATURE:
        raise FormatError("is no HDF5 file, or has a block before its beginning")
    version = block.integer(1)
    if version in (0, 1):
        block.take(4)
        sizes = block.take(2)
        block.take(9 if version == 0 else 13)
    elif version in (2, 3):
        sizes = block.take(2)
        block.take(1)
    else:
        raise FormatError(f"has version {version} of HDF5's beginning, and 0 to 3 are read")
    if sizes != b"\x08\x08":
        raise FormatError("has addresses or lengths of other than 8 bytes")
    base, _, end, last = (block.integer(8) for _ in range(4))
    if base:
        raise FormatError("has a block before its beginning")
    if end > source.size:
        raise FormatError(f"is cut off: it should have {end} bytes, got {source.size}")
    if version > 1:
        return last
    # What is called last names the other files of which this is the first.
    if last != UNDEFINED:
        raise FormatError("is one part of an HDF5 file in several files")
    block.take(8)
    return block.integer(8)


def messages_of(source: Bytes, place: int) -> list[Message]:
    """Return the header at an address, in which there is nothing that is not known.

    Raises
    ------
    FormatError
        If it is damaged, or has parts that are elsewhere.
    """
    start = source.at(place, 16, "a header")
    if start.content.startswith(b"OHDR"):
        blocks = [_first_of_second(source, place)]
        is_second = True
        has_order = bool(start.content[5] & 4)
    else:
        if start.integer(1) != 1:
            raise FormatError("is damaged: a header is none")
        start.take(7)
        blocks = [source.at(place + 16, start.integer(4), "a header")]
        is_second = has_order = False
    found: list[Message] = []
    for block in blocks:
        for message in _messages(source, block, is_second, has_order):
            if message.kind == CONTINUED:
                where, length = message.content.integer(8), message.content.integer(8)
                more = source.at(where, length, "a header's second part")
                blocks.append(_without_frame(more) if is_second else more)
                continue
            found.append(message)
        if len(found) + len(blocks) > _MOST_MESSAGES:
            raise FormatError("is damaged: a header has too many parts")
    return found


def _first_of_second(source: Bytes, place: int) -> Block:
    """The messages in a header of the second version, up to its checksum."""
    prefix = source.at(place, min(34, source.size - place), "a header")
    prefix.take(4)
    if prefix.integer(1) != 2:
        raise FormatError("is damaged: a header is none")
    flags = prefix.integer(1)
    prefix.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
    length = prefix.integer(1 << (flags & 3))
    return source.at(place + prefix.place, length, "a header")


def _without_frame(block: Block) -> Block:
    if block.left < 8 or block.take(4) != b"OCHK":
        raise FormatError("is damaged: a header's second part is none")
    return Block(block.take(block.left - 4), "a header")


def _messages(
    source: Bytes, block: Block, is_second: bool, has_order: bool
) -> Iterator[Message]:
    least = (6 if has_order else 4) if is_second else 8
    # Fewer bytes than a message has at least are a gap.
    while block.left >= least:
        # Also those that are passed over.
        source.count("a header")
        kind = block.integer(1 if is_second else 2)
        length, flags = block.integer(2), block.integer(1)
        block.take((2 if has_order else 0) if is_second else 3)
        content = Block(block.take(length), "a message")
        if kind not in _HARMLESS:
            if kind not in _MEANT:
                raise FormatError(f"has a part of kind {kind}, {_REPACK}")
            if flags & _SHARED:
                raise FormatError("has a named type, or a part that is kept elsewhere")
            yield Message(kind, content)


def is_group(messages: list[Message]) -> bool:
    """Whether these belong to a group and not to an array."""
    kinds = {message.kind for message in messages}
    return bool(kinds & {NAMES, LINKS, LINK})


def has_more_attributes(block: Block) -> bool:
    """Whether there are attributes outside of the header."""
    block.take(1)
    block.take(2 if block.integer(1) & 1 else 0)
    return block.integer(8) != UNDEFINED


def names_in(source: Bytes, messages: list[Message]) -> list[tuple[bytes, int]]:
    """Return the names in a group, each with the address of what it stands for.

    Raises
    ------
    FormatError
        If one stands for something in another place or another file.
    """
    found: list[tuple[bytes, int]] = []
    for kind, content in messages:
        if kind == NAMES:
            tree, heap = content.integer(8), content.integer(8)
            names = _heap(source, heap)
            for node in _leaves(source, tree, 0, 8, "a list of names"):
                found += _symbols(source, node.child, names)
                if len(found) > _MOST_NAMES:
                    raise FormatError(f"has more than {_MOST_NAMES} names")
        elif kind == LINK:
            found.append(_link(content))
        elif kind == LINKS:
            content.take(1)
            content.take(8 if content.integer(1) & 1 else 0)
            if content.integer(8) != UNDEFINED:
                raise FormatError(f"keeps its names in a heap, {_REPACK}")
    return found


def _heap(source: Bytes, place: int) -> bytes:
    block = source.at(place, 32, "a heap of names")
    if block.take(4) != b"HEAP" or block.integer(1):
        raise FormatError("is damaged: a heap of names is none")
    block.take(3)
    length = block.integer(8)
    block.take(8)
    return source.at(block.integer(8), length, "a heap of names").content


def _symbols(source: Bytes, place: int, names: bytes) -> Iterator[tuple[bytes, int]]:
    block = source.at(place, 8, "a list of names")
    if block.take(4) != b"SNOD" or block.integer(1) != 1:
        raise FormatError("is damaged: a list of names is none")
    block.take(1)
    count = block.integer(2)
    entries = source.at(place + 8, 40 * count, "a list of names")
    for _ in range(count):
        start, where, kind = entries.integer(8), entries.integer(8), entries.integer(4)
        entries.take(20)
        end = names.find(b"\0", start)
        if start >= len(names) or end < 0:
            raise FormatError("is damaged: a name is not in the file")
        if end - start > _LONGEST_NAME:
            raise FormatError(f"has a name of {end - start} letters")
        name = names[start:end]
        if kind == 2:
            raise FormatError(f"{_shown(name)} is a soft link, which is not followed")
        if kind > 2:
            raise FormatError(f"{_shown(name)} is damaged: it is of no kind")
        yield name, where


def _link(block: Block) -> tuple[bytes, int]:
    version, flags = block.integer(1), block.integer(1)
    if version != 1:
        raise FormatError(f"has a link of version {version}")
    kind = block.integer(1) if flags & 8 else 0
    block.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = block.take(block.integer(1 << (flags & 3)))
    if len(name) > _LONGEST_NAME:
        raise FormatError(f"has a name of {len(name)} letters")
    if kind:
        said = {1: "a soft link", 64: "an external link"}.get(kind, "an unknown link")
        raise FormatError(f"{_shown(name)} is {said}, which is not followed")
    return name, block.integer(8)


def _shown(name: bytes) -> str:
    return repr(name[:100].decode(errors="replace"))


class _Leaf(NamedTuple):
    key: Block
    child: int


def _leaves(source: Bytes, place: int, kind: int, key: int, what: str) -> Iterator[_Leaf]:
    """What the lowest nodes of a tree refer to, with the key before each.

    A node below another has a lower level, so that no tree goes round in circles.
    """
    if place == UNDEFINED:
        return
    nodes = [(place, -1)]
    while nodes:
        place, wanted = nodes.pop()
        head = source.at(place, 24, what)
        if head.take(4) != b"TREE" or head.integer(1) != kind:
            raise FormatError(f"is damaged: {what} is none")
        level, count = head.integer(1), head.integer(2)
        if wanted not in (level, -1):
            raise FormatError(f"is damaged: {what} goes round in circles")
        body = source.at(place + 24, count * (key + 8), what)
        children = [
            _Leaf(Block(body.take(key), what), body.integer(8)) for _ in range(count)
        ]
        if level:
            nodes += [(child, level - 1) for _, child in reversed(children)]
        else:
            yield from children


def chunks_of(source: Bytes, place: int, axes: int) -> Iterator[Piece]:
    """Return the chunks that a tree knows of."""
    for key, child in _leaves(source, place, 1, 8 * axes + 8, "a list of chunks"):
        length, skipped = key.integer(4), key.integer(4)
        corner = tuple(key.integer(8) for _ in range(axes))
        yield Piece(child, length, corner, skipped)


class Texts:
    """The texts of a file that have lengths of their own, which stand in heaps.

    Parameters
    ----------
    source
        The file.
    take
        What is told how many bytes of memory are taken and for what, and may refuse.
    """

    def __init__(self, source: Bytes, take: Callable[[int, str], None]) -> None:
        self._source = source
        self._take = take
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def read(self, reference: Block) -> bytes:
        """Return the text that 16 bytes refer to.

        Raises
        ------
        FormatError
            If it is not where it should be.
        """
        length, heap, index = (reference.integer(n) for n in (4, 8, 4))
        if not length:
            return b""
        self._take(length, "a text")
        if heap not in self._heaps:
            self._heaps[heap] = self._parts(heap)
        place, there = self._heaps[heap].get(index, (0, -1))
        if length > there:
            raise FormatError("is damaged: a text is not where it should be")
        return self._source.at(place, length, "a text").content

    def _parts(self, heap: int) -> dict[int, tuple[int, int]]:
        """Where each text of a heap is, by number."""
        head = self._source.at(heap, 16, "a heap of texts")
        if head.take(4) != b"GCOL" or head.integer(1) != 1:
            raise FormatError("is damaged: a heap of texts is none")
        head.take(3)
        size = head.integer(8)
        block = self._source.at(heap, size, "a heap of texts")
        block.take(min(16, size))
        parts: dict[int, tuple[int, int]] = {}
        while block.left >= 16:
            self._source.count("a heap of texts")
            index = block.integer(2)
            block.take(6)
            length = block.integer(8)
            if not index:
                # The rest is free.
                break
            parts[index] = (heap + block.place, length)
            block.take(length + -length % 8)
        self._take(_PLACE_BYTES * len(parts), "a heap of texts")
        return parts
