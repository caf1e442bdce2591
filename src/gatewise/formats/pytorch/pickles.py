"""Pickles, read without running any of their code.

A pickle is a program for a machine with a stack. This is a machine for all that such
programs do but one thing: it imports nothing and calls nothing. A name that a pickle asks
for is a `Placeholder`, and what it would make of one an `Inert` that keeps what it would be
made of, except for the few names that the caller knows how to stand in for.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.pickle_text import (
    float_from,
    integer_from,
    old_text,
    unicode_from,
    unquoted,
)
from gatewise.formats.pytorch.pickle_values import (
    PYTHON,
    Builders,
    Entries,
    Inert,
    Placeholder,
    kind_of,
)

__all__ = ["Pickle", "load_pickle"]

_HIGHEST_PROTOCOL = 5
# What is made by so many takes some 64 MiB, and about two seconds.
_MOST_OPERATIONS = 1 << 21
_LONGEST_NAME = 1000
# More digits than anyone has needed, and few enough to write them out at once.
_LONGEST_INTEGER = 256


class Pickle(NamedTuple):
    """What a pickle holds, and how many steps of its program that took, as they count."""

    value: Any
    operations: int


def load_pickle(
    file: BinaryIO,
    *,
    known: Builders = PYTHON,
    persistent: Callable[[Any], Any] | None = None,
    most_operations: int = _MOST_OPERATIONS,
) -> Pickle:
    """Read the pickle that begins where a file stands, and stop at its end.

    Numbers, text, bytes, tuples and lists become Python's own, sets become lists, and
    dictionaries `Entries`, whose keys may be anything. The result may hold itself, and so
    be without an end to whoever walks through it.

    Parameters
    ----------
    file : binary file
        That can be sought in.
    known : mapping of (module, name) to callable
        What stands in for a call of a name, given the tuple of its arguments.
    persistent : callable, optional
        What stands for an object outside of the pickle, given what the pickle calls it.
    most_operations : int
        How many steps its program may have. One that makes a collection or an object
        counts as several, by the memory that it takes.

    Returns
    -------
    Pickle

    Raises
    ------
    FormatError
        If it is no pickle, is cut off, or asks for what no file needs; it says at which
        byte.

    References
    ----------
    Python's ``Lib/pickletools.py`` describes every operation.

    Examples
    --------
    >>> import io, pickle
    >>> from gatewise.formats.pytorch.pickles import load_pickle
    >>> class Malice:
    ...     def __reduce__(self) -> tuple[object, ...]:
    ...         return print, ("it ran",)
    >>> value = load_pickle(io.BytesIO(pickle.dumps([1, Malice()]))).value
    >>> value[0], str(value[1]), value[1].arguments
    (1, 'builtins.print', ('it ran',))
    """
    return _Machine(file, known, persistent).run(most_operations)


class _Machine:
    def __init__(
        self, file: BinaryIO, known: Builders, persistent: Callable[[Any], Any] | None
    ) -> None:
        self._file = file
        self._place = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        file.seek(self._place)
        self._known = known
        self._persistent = persistent
        self._stack: list[Any] = []
        # How high the stack was at each mark.
        self._marks: list[int] = []
        self._memo: list[Any] = []
        self._names: dict[tuple[str, str], Placeholder] = {}

    def run(self, most: int) -> Pickle:
        operations, read, left = _COUNTED, self._file.read, most
        while True:
            start = self._place
            try:
                code = read(1)
                self._place += 1
                if code == b".":
                    if len(self._stack) != 1 or self._marks:
                        raise FormatError(
                            f"should end with one value, got {len(self._stack)}"
                        )
                    return Pickle(self._stack[0], most - left)
                operation, count = operations.get(code, _UNKNOWN)
                if operation is None:
                    if not code:
                        raise FormatError("ends early")
                    raise FormatError(f"{code!r} is no operation of a pickle that is read")
                left -= count
                if left < 0:
                    raise FormatError(f"goes on after {most} steps")
                operation(self)
            except FormatError as error:
                raise FormatError(f"at byte {start}: {error}") from None

    # What the program consists of.

    def _read(self, size: int) -> bytes:
        left = self._end - self._place
        if not 0 <= size <= left:
            raise FormatError(f"{size} bytes should follow, got {left}")
        content = self._file.read(size)
        if len(content) != size:
            raise FormatError("the file is cut off")
        self._place += size
        return content

    def _integer(self, size: int) -> int:
        return int.from_bytes(self._read(size), "little")

    def _line(self, most: int | None = _LONGEST_NAME) -> bytes:
        left = self._end - self._place
        content = self._file.readline(left if most is None else min(most + 1, left))
        self._place += len(content)
        if not content.endswith(b"\n"):
            raise FormatError("a line has no end, or is too long")
        return content[:-1]

    # The stack.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise FormatError("takes a value from where there is none")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise FormatError("goes back to a mark where there is none")
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def _top(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise FormatError("looks at a value where there is none")
        return self._stack[-1]

    def _discard(self) -> None:
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._pop()

    # The memo, a list: consecutive numbers are what every pickler gives.

    def _put(self, index: int) -> None:
        value = self._top()
        if not 0 <= index <= self._place:
            raise FormatError(f"puts a value at {index}, and nothing needs so many places")
        if index >= len(self._memo):
            self._memo.extend([_NOTHING] * (index + 1 - len(self._memo)))
        self._memo[index] = value

    def _get(self, index: int) -> None:
        if not 0 <= index < len(self._memo) or self._memo[index] is _NOTHING:
            raise FormatError(f"takes what was put at {index}, where nothing is")
        self._push(self._memo[index])

    # Numbers and text.

    def _protocol(self) -> None:
        protocol = self._integer(1)
        if protocol > _HIGHEST_PROTOCOL:
            raise FormatError(f"its protocol should be at most 5, got {protocol}")

    def _frame(self) -> None:
        length = self._integer(8)
        if length > self._end - self._place:
            raise FormatError(
                f"{length} bytes should follow, got {self._end - self._place}"
            )

    def _number_text(self) -> int:
        line = self._line(20)
        if not line.isdigit():
            raise FormatError(f"a place in the memo should follow, got {line!r}")
        return int(line)

    def _signed(self, size: int) -> int:
        return int.from_bytes(self._read(size), "little", signed=True)

    def _long(self, length: int) -> None:
        if length > _LONGEST_INTEGER:
            raise FormatError(
                f"a whole number should have at most {_LONGEST_INTEGER} bytes, got {length}"
            )
        self._push(self._signed(length))

    def _text(self, length: int) -> None:
        self._push(self._read(length).decode("utf-8", "backslashreplace"))

    # Collections.

    def _tuple(self, size: int) -> None:
        values = [self._pop() for _ in range(size)]
        self._push(tuple(reversed(values)))

    def _set_entries(self, values: list[Any]) -> None:
        target = self._top()
        if len(values) % 2:
            raise FormatError("the last key has no value")
        if isinstance(target, Inert):
            target.entries = target.entries or Entries()
            target = target.entries
        if not isinstance(target, Entries):
            raise FormatError(f"sets an entry in a {kind_of(target)}")
        target.pairs.extend(zip(values[::2], values[1::2], strict=True))

    def _add(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Inert):
            target.items = target.items or []
            target = target.items
        if not isinstance(target, list):
            raise FormatError(f"adds to a {kind_of(target)}")
        target.extend(values)

    def _set_entry(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_entries([key, value])

    def _dictionary(self) -> None:
        values = self._pop_to_mark()
        self._push(Entries())
        self._set_entries(values)

    # Names, and what would be made of them.

    def _name(self, module: Any, name: Any) -> Placeholder:
        if not isinstance(module, str) or not isinstance(name, str):
            raise FormatError(f"a name should be text, got {kind_of(name)}")
        if len(module) > _LONGEST_NAME or len(name) > _LONGEST_NAME:
            raise FormatError("a name is too long")
        return self._names.setdefault((module, name), Placeholder(module, name))

    def _named_line(self) -> Placeholder:
        module, name = self._line(), self._line()
        return self._name(*(part.decode("utf-8", "replace") for part in (module, name)))

    def _named_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._name(module, name))

    def _make(self, function: Any, arguments: Any, keywords: Any = None) -> None:
        if not isinstance(arguments, tuple):
            raise FormatError(f"arguments should be a tuple, got {kind_of(arguments)}")
        if not isinstance(function, Placeholder | Inert):
            raise FormatError(f"calls a {kind_of(function)}")
        if keywords is not None and not isinstance(keywords, Entries):
            raise FormatError(f"keywords should be a dictionary, got {kind_of(keywords)}")
        if isinstance(function, Placeholder) and not (keywords and keywords.pairs):
            builder = self._known.get((function.module, function.name))
            value = NotImplemented if builder is None else builder(arguments)
            if value is not NotImplemented:
                self._push(value)
                return
        self._push(Inert(function, arguments, keywords))

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._make(function, arguments)

    def _new_with_keywords(self) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        self._make(function, arguments, keywords)

    def _instance(self) -> None:
        name = self._named_line()
        self._make(name, tuple(self._pop_to_mark()))

    def _object(self) -> None:
        values = self._pop_to_mark()
        if not values:
            raise FormatError("an object has no class")
        self._make(values[0], tuple(values[1:]))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        set_state = getattr(target, "set_state", None)
        if set_state is None:
            raise FormatError(f"gives a state to a {kind_of(target)}")
        set_state(state)

    def _outside(self) -> None:
        name = self._pop()
        if self._persistent is None:
            raise FormatError("refers to an object outside of it")
        self._push(self._persistent(name))


_NOTHING = object()

# Left out are those for extensions (EXT1 to EXT4), which name code by numbers, for buffers
# outside of the file (NEXT_BUFFER, READONLY_BUFFER), and PERSID, which nobody's files have.
_OPERATIONS: dict[bytes, Callable[[_Machine], Any]] = {
    b"(": lambda machine: machine._marks.append(len(machine._stack)),
    b"0": _Machine._discard,
    b"1": _Machine._pop_to_mark,
    b"2": lambda machine: machine._push(machine._top()),
    b"N": lambda machine: machine._push(None),
    b"\x88": lambda machine: machine._push(True),
    b"\x89": lambda machine: machine._push(False),
    b"I": lambda machine: machine._push(integer_from(machine._line())),
    b"L": lambda machine: machine._push(integer_from(machine._line())),
    b"F": lambda machine: machine._push(float_from(machine._line())),
    b"J": lambda machine: machine._push(machine._signed(4)),
    b"K": lambda machine: machine._push(machine._integer(1)),
    b"M": lambda machine: machine._push(machine._integer(2)),
    b"\x8a": lambda machine: machine._long(machine._integer(1)),
    b"\x8b": lambda machine: machine._long(machine._integer(4)),
    b"G": lambda machine: machine._push(struct.unpack(">d", machine._read(8))[0]),
    b"S": lambda machine: machine._push(old_text(unquoted(machine._line(None)))),
    b"T": lambda machine: machine._push(old_text(machine._read(machine._signed(4)))),
    b"U": lambda machine: machine._push(old_text(machine._read(machine._integer(1)))),
    b"V": lambda machine: machine._push(unicode_from(machine._line(None))),
    b"X": lambda machine: machine._text(machine._integer(4)),
    b"\x8c": lambda machine: machine._text(machine._integer(1)),
    b"\x8d": lambda machine: machine._text(machine._integer(8)),
    b"B": lambda machine: machine._push(machine._read(machine._integer(4))),
    b"C": lambda machine: machine._push(machine._read(machine._integer(1))),
    b"\x8e": lambda machine: machine._push(machine._read(machine._integer(8))),
    b"\x96": lambda machine: machine._push(machine._read(machine._integer(8))),
    b")": lambda machine: machine._push(()),
    b"t": lambda machine: machine._push(tuple(machine._pop_to_mark())),
    b"\x85": lambda machine: machine._tuple(1),
    b"\x86": lambda machine: machine._tuple(2),
    b"\x87": lambda machine: machine._tuple(3),
    b"]": lambda machine: machine._push([]),
    b"l": lambda machine: machine._push(machine._pop_to_mark()),
    b"a": lambda machine: machine._add([machine._pop()]),
    b"e": lambda machine: machine._add(machine._pop_to_mark()),
    b"}": lambda machine: machine._push(Entries()),
    b"d": _Machine._dictionary,
    b"s": _Machine._set_entry,
    b"u": lambda machine: machine._set_entries(machine._pop_to_mark()),
    b"\x8f": lambda machine: machine._push([]),
    b"\x90": lambda machine: machine._add(machine._pop_to_mark()),
    b"\x91": lambda machine: machine._push(machine._pop_to_mark()),
    b"p": lambda machine: machine._put(machine._number_text()),
    b"q": lambda machine: machine._put(machine._integer(1)),
    b"r": lambda machine: machine._put(machine._integer(4)),
    b"\x94": lambda machine: machine._put(len(machine._memo)),
    b"g": lambda machine: machine._get(machine._number_text()),
    b"h": lambda machine: machine._get(machine._integer(1)),
    b"j": lambda machine: machine._get(machine._integer(4)),
    b"c": lambda machine: machine._push(machine._named_line()),
    b"\x93": _Machine._named_stack,
    b"R": _Machine._call,
    b"\x81": _Machine._call,
    b"\x92": _Machine._new_with_keywords,
    b"i": _Machine._instance,
    b"o": _Machine._object,
    b"b": _Machine._build,
    b"Q": _Machine._outside,
    b"\x80": _Machine._protocol,
    b"\x95": _Machine._frame,
}

# What makes collections, objects, names or texts of Python 2, an entry, and other texts.
_COUNTS = (
    dict.fromkeys(b"]}tld\x85\x86\x87\x8f\x91R\x81\x92ioQc\x93STU", 8)
    | dict.fromkeys(b"s", 4)
    | dict.fromkeys(b"VX\x8c\x8dBC\x8e\x96", 2)
)
_COUNTED = {
    code: (operation, _COUNTS.get(code[0], 1)) for code, operation in _OPERATIONS.items()
}
_UNKNOWN = (None, 0)
