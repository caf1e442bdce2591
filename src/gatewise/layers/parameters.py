"""The values that parameters have at one moment, and the one step from old values to new.

A change writes into no array. It makes new ones, for one layer or for several, and all of
them become valid by a single assignment. So there are the old values or the new ones, and
never a mixture, whatever exception falls where and whatever other threads do meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser

Array = NDArray[Any]

__all__ = [
    "Draw",
    "Holder",
    "Snapshot",
    "Values",
    "Version",
    "are_left_out",
    "change",
    "first_values",
    "frozen",
    "left_out",
    "placeholder",
    "settled",
    "uniform",
]


class Snapshot:
    """All parameters of a layer as they are between two changes; each change makes another.

    Parameters
    ----------
    arrays
        A layer's own parameters by name, which nobody writes to.
    parts
        The snapshots of the layers inside.
    versions
        What these hold, for a quick look at whether all is as it was.
    """

    def __init__(
        self,
        arrays: dict[str, Array],
        parts: tuple[Snapshot, ...] = (),
        versions: tuple[Version, ...] = (),
    ) -> None:
        self.arrays = arrays
        self.parts = parts
        self.versions = versions
        self._prepared: dict[str, tuple[object, Any]] = {}

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Snapshot):
            return self is other
        # Two threads may each have made one of the same parts.
        return bool(self.parts) and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    def is_unchanged(self) -> bool:
        """Whether the layers inside are sure to have their parts of this.

        What a holder had never comes back. So who finds all of it knows that all of it was
        valid when the look began.
        """
        for holder, values, _ in self.versions:
            if holder.values is not values:
                return False
        return bool(self.versions)

    def prepared(self, make: Callable[[Snapshot], Any], purpose: str = "") -> Any:
        """What `make` makes of this for the present backend, made once for each purpose."""
        kernels, form = self._prepared.get(purpose, (None, None))
        if kernels is not chooser.kernels:
            kernels = chooser.kernels
            form = make(self)
            # Both in one step, since two threads may come here at once.
            self._prepared[purpose] = kernels, form
        return form


class _Change:
    """What several layers wait for, so that their values change at the same moment."""

    made = False


class Values(NamedTuple):
    """Which snapshot a layer has: another one as soon as the change is made."""

    change: _Change
    before: Snapshot
    after: Snapshot

    def now(self) -> Snapshot:
        """The snapshot that is valid at this moment."""
        return self.after if self.change.made else self.before


class Holder:
    """What of a layer may change: its parameters, and its options.

    Each is replaced as a whole, so who keeps what was there sees that it has changed.
    """

    __slots__ = ("options", "values")

    def __init__(self, arrays: dict[str, Array], options: dict[str, Any]) -> None:
        self.values = settled(Snapshot(arrays))
        self.options = options

    def version(self) -> Version:
        """What is held now, to be compared with what is held later."""
        values = self.values
        # While a change is under way, it can be made at any moment: look again then.
        return self, values if values.before is values.after else None, self.options


# A holder with what it held: the next look at it finds the same objects, or a change.
Version = tuple[Holder, Values | None, dict[str, Any]]


# One change at a time, or of two partial ones one could get lost. Re-entrant, since a
# signal's handler may change parameters in the middle of a change.
_turn = threading.RLock()

# Seconds that no change takes: it is a few assignments.
_PATIENCE = 5.0


def _new_turn() -> Any:
    """Forget whoever has the turn and will never give it back.

    That is a thread that a fork() left behind, or one in which a debugger or the like
    raised an exception just before it would have given the turn back.
    """
    global _turn
    _turn = threading.RLock()
    return _turn


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)


def settled(snapshot: Snapshot) -> Values:
    """The values of a layer that no change is under way for."""
    return Values(_Change(), snapshot, snapshot)


def change(
    new: Iterable[tuple[Holder, Mapping[str, Array | None]]], *, may_add: bool = False
) -> None:
    """Let all these hold the new arrays from one moment on; other arrays stay theirs.

    With None for an array there is none of its name any more. Names that are not there yet
    have to be wanted, with `may_add`: otherwise they are of arrays that went meanwhile.

    Raises
    ------
    ValueError
        If a name is not there, and not wanted. Nothing changes then.
    """
    turn = _turn
    if not turn.acquire(timeout=_PATIENCE):
        turn = _new_turn()
        turn.acquire()
    try:
        step = _Change()
        after: dict[Holder, Snapshot] = {}
        for holder, arrays in new:
            before = holder.values.now()
            gone = arrays.keys() - before.arrays.keys()
            if gone and not may_add:
                raise ValueError(
                    "parameters should be those of the layer, got "
                    f"{', '.join(sorted(gone))}, taken away meanwhile"
                )
            merged = {**before.arrays, **arrays}
            after[holder] = Snapshot({n: a for n, a in merged.items() if a is not None})
            holder.values = Values(step, before, after[holder])
        step.made = True
        for holder, snapshot in after.items():
            # Lets go of the old arrays.
            holder.values = Values(step, snapshot, snapshot)
    finally:
        turn.release()


# Makes what a parameter of this shape starts from.
Draw = Callable[[tuple[int, ...]], Array]


def uniform(generator: np.random.Generator, bound: float) -> Draw:
    """What draws as PyTorch does, within `bound` of 0."""
    # As NumPy's own does, which some processors would do in one rounding.
    return lambda shape: generator.random(shape) * (2 * bound) - bound


# How many parameters may still be made without values, if they are.
_left_out: ContextVar[int | None] = ContextVar("_left_out", default=None)


@contextmanager
def left_out(most: int) -> Iterator[None]:
    """Let the layers of this thread that are made meanwhile take no memory.

    What would be parameters then has their dtypes and shapes alone, and has to be replaced
    by arrays that have values. So sizes that came out of a file can be compared with its
    bytes before any memory is taken.

    Parameters
    ----------
    most
        So many parameters can be made; one more is a ValueError.
    """
    token = _left_out.set(most)
    try:
        yield
    finally:
        _left_out.reset(token)


def are_left_out() -> bool:
    """Whether layers are made without the values of their parameters."""
    return _left_out.get() is not None


def placeholder(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array without memory of its own."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def first_values(shape: tuple[int, ...], dtype: np.dtype[Any], draw: Draw) -> Array:
    """What a parameter starts from: what `draw` returns, or nothing but the shape."""
    most = _left_out.get()
    if most is None:
        return frozen(draw(shape), dtype)
    if most == 0:
        raise ValueError("there are not so many arrays as the layers have parameters")
    _left_out.set(most - 1)
    return placeholder(shape, dtype)


def frozen(value: Array, dtype: np.dtype[Any]) -> Array:
    """A read-only copy that is nobody else's."""
    if are_left_out():
        return placeholder(value.shape, dtype)
    # Memory used before: training makes these anew in every step.
    array: Array = chooser.kernels.empty(value.shape, dtype)
    array[...] = value
    array.flags.writeable = False
    return array
