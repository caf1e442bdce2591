"""Which arrays a pickle holds, under which names, and what else it says."""

from __future__ import annotations

from typing import Any, NamedTuple

from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.pickle_values import (
    Encoded,
    Entries,
    Inert,
    Leaf,
    OldText,
    Placeholder,
    as_bytes,
    kind_of,
)
from gatewise.formats.pytorch.pickles import Pickle

__all__ = ["Tree", "find_arrays"]

# Each level is a few calls of Python's.
_DEEPEST = 100
_LONGEST_NAME = 4096
_LONGEST_KEY = 200
# Of all names together.
_MOST_LETTERS = 1 << 26
# A value that is shared is met more than once, which may take so many times as long as to
# make each value once. Meeting a collection, or an array, takes longer than a number.
_MOST_MEETINGS = 2
_FEW = 1 << 19
_COLLECTION = 4
_ARRAYS_SHARE = 8
# Objects that are nothing but their attributes.
_NAMESPACES = {"argparse.Namespace", "types.SimpleNamespace"}
_AS_THEY_ARE = {bool, float, int, str, type(None)}


class Tree(NamedTuple):
    """What a pickle holds.

    Attributes
    ----------
    arrays : dict of str to Leaf
        By the keys that lead to them, joined by dots.
    unread : dict of str to str
        Why the other arrays cannot be read.
    metadata : dict
        What is no array, under the same keys.
    """

    arrays: dict[str, Leaf]
    unread: dict[str, str]
    metadata: dict[str, Any]


def find_arrays(pickle: Pickle) -> Tree:
    """Walk through what a pickle holds.

    Keys that are no text are written as text, and places in lists and tuples are numbers.
    An array by itself is called ``"tensor"``. Modules of PyTorch give the names of their
    state_dict.

    Raises
    ------
    FormatError
        If two arrays have one name, or it is nested too deeply, is in itself, or has shared
        parts so that walking it takes for ever.
    """
    walk = _Walk(_FEW + _MOST_MEETINGS * pickle.operations)
    if isinstance(pickle.value, Leaf):
        found = walk.value(pickle.value, ("tensor",))
        return Tree(walk.arrays, walk.unread, {} if found is _ARRAY else {"tensor": found})
    found = walk.value(pickle.value, ())
    if isinstance(found, list):
        found = {str(index): value for index, value in enumerate(found)}
    elif not isinstance(found, dict):
        found = {} if found is _ARRAY else {"value": found}
    return Tree(walk.arrays, walk.unread, found)


_ARRAY: Any = object()


class _Walk:
    def __init__(self, most_meetings: int) -> None:
        self.arrays: dict[str, Leaf] = {}
        self.unread: dict[str, str] = {}
        self._letters = 0
        self._most_meetings = most_meetings
        self._left = most_meetings
        # What is being walked through, and the objects that have been, with their names.
        self._open: set[int] = set()
        self._seen: dict[tuple[int, bool], tuple[str, ...]] = {}
        # By the keys' numbers.
        self._keys: dict[int, str | None] = {}

    def value(self, value: Any, path: tuple[str, ...], *, bare: bool = False) -> Any:
        """What metadata say of a value; its arrays are noted down, unless `bare`."""
        self._count(1)
        if isinstance(value, Leaf):
            self._count(_ARRAYS_SHARE)
            return self._leaf(value, path, bare)
        if not isinstance(value, Entries | Inert | list | tuple):
            return _plain(value)
        self._count(_COLLECTION)
        if path and len(path[-1]) > _LONGEST_NAME:
            raise FormatError(f"its names are too long, such as {path[-1][:50]!r}")
        if id(value) in self._open:
            return f"what it is in, {kind_of(value)}"
        if len(self._open) >= _DEEPEST:
            raise FormatError(f"is nested deeper than {_DEEPEST} levels")
        self._open.add(id(value))
        try:
            if isinstance(value, Entries):
                return self._entries(value, path, bare)
            if isinstance(value, Inert):
                return self._object(value, path, bare)
            return self._items(value, path, bare)
        finally:
            self._open.discard(id(value))

    def _count(self, meetings: int) -> None:
        self._left -= meetings
        if self._left < 0:
            raise FormatError(
                f"its parts are in each other more than {self._most_meetings} times"
            )

    def _joined(self, path: tuple[str, ...]) -> str:
        name = ".".join(path)
        self._letters += len(name)
        if len(name) > _LONGEST_NAME or self._letters > _MOST_LETTERS:
            raise FormatError(f"its names are too long, such as {name[:50]!r}")
        return name

    def _leaf(self, leaf: Leaf, path: tuple[str, ...], bare: bool) -> Any:
        if bare:
            return leaf.unread or self._joined((str(leaf.header),))
        name = self._joined(path)
        if name in self.arrays or name in self.unread:
            raise FormatError(f"two arrays have the name {name!r}")
        if leaf.unread:
            self.unread[name] = leaf.unread
            return leaf.unread
        self.arrays[name] = leaf
        return _ARRAY

    def _entries(self, entries: Entries, path: tuple[str, ...], bare: bool) -> Any:
        found: dict[str, Any] = {}
        self._into(found, entries, path, bare)
        return found if found or not entries.pairs else _ARRAY

    def _into(
        self, found: dict[str, Any], entries: Entries, path: tuple[str, ...], bare: bool
    ) -> None:
        self._count(len(entries.pairs))
        names = set(found)
        for index, (key, value) in enumerate(entries.pairs):
            name = key if type(key) is str else self._key(key, index)
            if name in names:
                raise FormatError(f"has two entries {'.'.join((*path, name))[:200]!r}")
            names.add(name)
            if type(value) in _AS_THEY_ARE:
                found[name] = value
            else:
                self._put(found, name, self.value(value, (*path, name), bare=bare))

    def _key(self, key: Any, index: int) -> str:
        """A key as text; for one that can be anything, with its place in the dictionary.

        A key may be meant a million times, so none is made anew that is long.
        """
        if isinstance(key, str):
            return key.plain if isinstance(key, OldText) else key
        if isinstance(key, tuple | bytes | Encoded):
            if id(key) not in self._keys:
                self._keys[id(key)] = _key_of_parts(key)
            name = self._keys[id(key)]
        else:
            name = _key_of_one(key)
        if name is not None:
            return name
        shown = str(key)[:_LONGEST_KEY] if isinstance(key, Inert) else kind_of(key)
        return f"{shown} {index}"

    def _items(self, items: Any, path: tuple[str, ...], bare: bool) -> Any:
        self._count(len(items))
        found = [
            item
            if type(item) in _AS_THEY_ARE
            else self.value(item, (*path, str(index)), bare=bare)
            for index, item in enumerate(items)
        ]
        if _ARRAY not in found:
            return found
        rest: dict[str, Any] = {}
        for index, value in enumerate(found):
            self._put(rest, str(index), value)
        return rest or _ARRAY

    def _put(self, found: dict[str, Any], name: str, value: Any) -> None:
        if value is not _ARRAY:
            found[name] = value

    def _object(self, value: Inert, path: tuple[str, ...], bare: bool) -> Any:
        state = value.state
        if isinstance(state, Entries):
            self._count(len(state.pairs))
            if _is_module(state):
                return self._module(value, state, path, bare)
        if isinstance(state, Entries) and _is_script(value):
            return self._script(value, state, path, bare)
        # Objects refer to each other at will, and the same one by many ways.
        before = self._seen.get((id(value), bare))
        if before is not None:
            return f"the same as {self._joined(before) or 'all of it'}"
        self._seen[id(value), bare] = path
        kind = str(value)
        found: dict[str, Any] = {} if kind in _NAMESPACES else {"__class__": kind}
        if value.arguments:
            self._part(found, "__arguments__", value.arguments, path, bare)
        if value.keywords is not None and value.keywords.pairs:
            self._part(found, "__keywords__", value.keywords, path, bare)
        if value.items:
            self._part(found, "__items__", value.items, path, bare)
        if value.entries is not None:
            self._into(found, value.entries, path, bare)
        # With slots there are two dictionaries.
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        if all(part is None or isinstance(part, Entries) for part in parts):
            for part in parts:
                if part is not None:
                    self._attributes(found, part, value.entries, path, bare)
        elif state is not None:
            self._part(found, "__state__", state, path, bare)
        return found if set(found) != {"__class__"} or _has_more(value) else kind

    def _attributes(
        self,
        found: dict[str, Any],
        attributes: Entries,
        entries: Entries | None,
        path: tuple[str, ...],
        bare: bool,
    ) -> None:
        """The attributes of an object; many dictionaries have their entries as such too."""
        if entries is None or not entries.pairs:
            self._into(found, attributes, path, bare)
            return
        self._count(len(entries.pairs))
        known = {key: entry for key, entry in entries.pairs if isinstance(key, str)}
        fresh, other = [], []
        for key, value in attributes.pairs:
            if not isinstance(key, str) or key not in known:
                fresh.append((key, value))
            elif not _is_same(value, known[key]):
                other.append((key, value))
        self._into(found, Entries(fresh), path, bare)
        if other:
            inner: dict[str, Any] = {}
            self._into(inner, Entries(other), (*path, "__state__"), bare)
            self._put(found, "__state__", inner or _ARRAY)

    def _part(
        self,
        found: dict[str, Any],
        name: str,
        value: Any,
        path: tuple[str, ...],
        bare: bool,
    ) -> None:
        self._put(found, name, self.value(value, path, bare=bare))

    def _module(
        self, module: Inert, state: Entries, path: tuple[str, ...], bare: bool
    ) -> Any:
        """A module of PyTorch: what its state_dict has, under the same names."""
        found: dict[str, Any] = {"__class__": str(module)}
        passing = self._texts(state.get("_non_persistent_buffers_set"))
        for key, value in state.pairs:
            if not isinstance(key, str):
                continue
            if key in ("_parameters", "_buffers", "_modules") and isinstance(
                value, Entries
            ):
                self._count(len(value.pairs))
                left_out = passing if key == "_buffers" else set()
                kept = [
                    pair
                    for pair in value.pairs
                    if pair[1] is not None
                    and not (isinstance(pair[0], str) and str(pair[0]) in left_out)
                ]
                self._into(found, Entries(kept), path, bare)
            elif not key.startswith("_"):
                self._put(found, key, self.value(value, (*path, key), bare=True))
        return found

    def _script(
        self, module: Inert, state: Entries, path: tuple[str, ...], bare: bool
    ) -> Any:
        """A module of TorchScript, whose parameters are attributes of it."""
        found: dict[str, Any] = {"__class__": str(module)}
        for key, value in state.pairs:
            name = str(key) if isinstance(key, str) else ""
            is_part = isinstance(value, Leaf) or (
                isinstance(value, Inert) and _is_script(value)
            )
            if name and (is_part or not name.startswith("_")):
                self._put(
                    found, name, self.value(value, (*path, name), bare=bare or not is_part)
                )
        return found

    def _texts(self, values: Any) -> set[str]:
        if not isinstance(values, list | tuple):
            return set()
        self._count(len(values))
        return {str(value) for value in values if isinstance(value, str)}


def _is_module(state: Entries) -> bool:
    return all(isinstance(state.get(name), Entries) for name in ("_parameters", "_modules"))


def _is_script(value: Inert) -> bool:
    kind = value.function
    return isinstance(kind, Placeholder) and kind.module.split(".")[0] == "__torch__"


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are one, as texts and collections are that were one when saved."""
    if value is other:
        return True
    if type(value) is not type(other) or type(value) not in (bool, float, int):
        return False
    return bool(value == other or (value != value and other != other))


def _has_more(value: Inert) -> bool:
    return bool(
        value.arguments
        or value.items
        or value.entries is not None
        or value.state is not None
        or value.keywords is not None
    )


def _plain(value: Any) -> Any:
    if isinstance(value, OldText):
        return value.plain
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | Encoded):
        return f"{len(value)} bytes"
    return str(value)


def _key_of_one(key: Any) -> str | None:
    if isinstance(key, int) and key.bit_length() > _LONGEST_KEY:
        return None
    if key is None or isinstance(key, bool | int | float | Placeholder):
        return str(key)
    return None


def _key_of_parts(key: tuple[Any, ...] | bytes | Encoded) -> str | None:
    if not isinstance(key, tuple):
        if len(key) > _LONGEST_KEY:
            return None
        return (as_bytes(key) or b"").decode("utf-8", "backslashreplace")
    if len(key) >= 10:
        return None
    parts = [part if isinstance(part, str) else _key_of_one(part) for part in key]
    if None in parts:
        return None
    return f"({', '.join(str(part)[:_LONGEST_KEY] for part in parts)})"
