"""What a pickle becomes when none of its code is run: plain values and inert objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gatewise.formats.containers import Array, Header
from gatewise.formats.errors import FormatError

__all__ = [
    "PYTHON",
    "Builders",
    "Encoded",
    "Entries",
    "Inert",
    "Leaf",
    "OldText",
    "Placeholder",
    "Unread",
    "as_bytes",
    "kind_of",
    "size_in_bytes",
]


class Placeholder:
    """A name that a pickle asks to have imported, which nobody does.

    Parameters
    ----------
    module, name : str
    """

    __slots__ = ("_text", "module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        # Once, since a million objects may be of one class.
        self._text = f"{module}.{name}"

    def __str__(self) -> str:
        return self._text


class Inert:
    """An object that was not made: what was to be called, and with what.

    Attributes
    ----------
    function : Placeholder or Inert
        What the pickle wanted to call.
    arguments : tuple
    keywords : Entries or None
    state : object
        What the object was to take for its attributes; None where nothing was said.
    items : list
        What was to be appended to it.
    entries : Entries
        What was to be set in it.
    """

    __slots__ = ("arguments", "entries", "function", "items", "keywords", "state")

    def __init__(
        self, function: Any, arguments: tuple[Any, ...], keywords: Entries | None = None
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.keywords = keywords
        self.state: Any = None
        self.items: list[Any] | None = None
        self.entries: Entries | None = None

    def __str__(self) -> str:
        # The function of a function may go on for ever.
        known = isinstance(self.function, Placeholder)
        return str(self.function) if known else "what a call gives"

    def set_state(self, state: Any) -> None:
        """Keep what the object was to take for its attributes."""
        self.state = state


class Entries:
    """A dictionary as the pairs that were set in it.

    Keys are never hashed nor compared: a file can choose them so that it takes for ever.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Any, Any]] | None = None) -> None:
        self.pairs = [] if pairs is None else pairs

    def get(self, name: str) -> Any:
        """Return what was set last under a name; None where nothing was."""
        for key, value in reversed(self.pairs):
            if isinstance(key, str) and key == name:
                return value
        return None

    def set_state(self, state: Any) -> None:
        """Attributes of a dictionary, such as the versions in a state_dict, go nowhere."""


class Encoded:
    """Bytes that stand in a pickle as text.

    They are made when somebody wants them, since a text can be meant a million times.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self.text)


class OldText(str):
    """A text of Python 2, which had one type for text and bytes.

    Attributes
    ----------
    content : bytes
    plain : str
        The same, and nothing but text.
    """

    __slots__ = ("content", "plain")
    content: bytes
    plain: str


class Leaf:
    """An array, of which so far only a description is there.

    Attributes
    ----------
    unread : str
        Why it cannot be read, or nothing.
    header : Header
    """

    __slots__ = ()

    @property
    def unread(self) -> str:
        """Why it cannot be read, or nothing."""
        raise NotImplementedError

    @property
    def header(self) -> Header:
        """What it will be once read."""
        raise NotImplementedError

    def read(self) -> Array:
        """Return the array, which is nobody else's."""
        raise NotImplementedError

    def set_state(self, state: Any) -> None:
        """What else Python hangs on an array, such as hooks, goes nowhere."""


class Unread(Leaf):
    """An array that is there but is not read, and why."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    def unread(self) -> str:
        """The reason."""
        return self._reason


# What stands for a call of a known name: a value, or NotImplemented where it knows none for
# these arguments and the call stays inert.
Builders = Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Any]]


def kind_of(value: Any) -> str:
    """Name the type of a value of a pickle, never what is in it."""
    if isinstance(value, Placeholder | Inert):
        return f"{type(value).__name__.lower()} {str(value)[:100]}"
    return type(value).__name__


def size_in_bytes(value: Any) -> int | None:
    """Return how many bytes `as_bytes` gives, without making them; None where none."""
    if isinstance(value, OldText):
        return len(value.content)
    return len(value) if isinstance(value, bytes | Encoded) else None


def as_bytes(value: Any) -> bytes | None:
    """Return the bytes that a value stands for, if it is one that does."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, OldText):
        return value.content
    if not isinstance(value, Encoded):
        return None
    try:
        return value.text.encode("latin-1")
    except UnicodeEncodeError:
        raise FormatError("bytes that are written as text hold other letters") from None


# Nothing here takes longer for longer arguments, since they can be meant a million times.


def _dictionary(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case ():
            return Entries()
        case (Entries() as entries,):
            return entries
        case (list() as pairs,):
            if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
                raise FormatError("a dictionary should be made of pairs")
            entries = Entries([(key, value) for key, value in pairs])
            pairs.clear()
            return entries
    return NotImplemented


def _dictionary_with_default(arguments: tuple[Any, ...]) -> Any:
    return _dictionary(arguments[1:]) if len(arguments) <= 2 else NotImplemented


def _collection(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case ():
            return []
        case (list() | tuple() as items,):
            return items
    return NotImplemented


def _encoded(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            return Encoded(text)
    return NotImplemented


def _bytes(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case ():
            return b""
        case (bytes() | Encoded() as content,):
            return content
    return _encoded(arguments)


def _object(arguments: tuple[Any, ...]) -> Any:
    """An object as protocols before the second make it, and Python 2's second too."""
    match arguments:
        case (Placeholder() as kind,) | (Placeholder() as kind, _, None):
            return Inert(kind, ())
        case (Placeholder() as kind, _, content):
            return Inert(kind, (content,))
    return NotImplemented


def _new_object(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Placeholder() as kind, *_) if len(arguments) < 10:
            return Inert(kind, arguments[1:])
    return NotImplemented


def _complex(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (float() as real, float() as imaginary):
            return complex(real, imaginary)
    return NotImplemented


PYTHON: Builders = {
    ("collections", "OrderedDict"): _dictionary,
    ("collections", "Counter"): _dictionary,
    ("collections", "defaultdict"): _dictionary_with_default,
    ("_codecs", "encode"): _encoded,
    ("copy_reg", "_reconstructor"): _object,
    ("copyreg", "_reconstructor"): _object,
    ("copy_reg", "__newobj__"): _new_object,
    ("copyreg", "__newobj__"): _new_object,
} | {
    (module, name): builder
    for module in ("builtins", "__builtin__")
    for name, builder in (
        ("bytearray", _bytes),
        ("bytes", _bytes),
        ("complex", _complex),
        ("dict", _dictionary),
        ("frozenset", _collection),
        ("list", _collection),
        ("set", _collection),
        ("tuple", _collection),
    )
}
