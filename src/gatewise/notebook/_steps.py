"""The step caches of a sequence, made when they are looked at."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

from numpy.typing import ArrayLike

from gatewise import _backend
from gatewise._checks import Array
from gatewise._direction import Tape, Weights
from gatewise.notebook._cell import Cache, Cell, Parameters

__all__ = ["Steps", "tape_states"]


class Steps(Sequence[Cache]):
    """One cache for each time step, as a list of them would be, over the tape of one run.

    The caches are tuples of views. `x` and `a0` are the caller's, and so is `parameters`;
    `weights` are those that the run was made with.
    """

    __slots__ = ("_packed", "a0", "cell", "parameters", "tape", "weights", "x")

    def __init__(
        self,
        cell: Cell,
        tape: Tape,
        weights: Weights,
        packed: Any,
        x: Array,
        a0: ArrayLike,
        parameters: Parameters,
    ) -> None:
        self.cell = cell
        self.tape = tape
        self.weights = weights
        self._packed = packed
        self.x = x
        self.a0 = a0
        self.parameters = parameters

    def __len__(self) -> int:
        return len(self.tape.y)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Cache: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cache]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Cache | list[Cache]:
        if isinstance(index, slice):
            return [self[step] for step in range(*index.indices(len(self)))]
        step = operator.index(index)
        if step < 0:
            step += len(self)
        if not 0 <= step < len(self):
            raise IndexError(f"there are {len(self)} steps, got index {index}")
        return self._cache(step)

    def __repr__(self) -> str:
        return f"<{self.cell.name} caches of {len(self)} steps>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The packed form belongs to this process's backend, and is quickly made anew.
        run = (self.cell, self.tape, self.weights, None, self.x, self.a0, self.parameters)
        return type(self), run

    def packed(self) -> Any:
        """Return the weights packed for the backend in use."""
        if not isinstance(self._packed, _backend.kernels.Packed):
            self._packed = self.weights.pack()
        return self._packed

    def _cache(self, step: int) -> Cache:
        states = tape_states(self.tape)
        after = [rows[step].T for rows in states]
        before: list[ArrayLike]
        if step == 0:
            before = [self.a0, *(initial.T for initial in self.tape.initial[1:])]
        else:
            before = [rows[step - 1].T for rows in states]
        gates, xt = self.tape.gates[step], self.x[:, :, step]
        return self.cell.cache(gates, before, after, xt, self.parameters)


def tape_states(tape: Tape) -> list[Array]:
    """Return the rows of the states that the steps left: a, and for the LSTM c."""
    if len(tape.initial) == 1:
        return [tape.y]
    assert tape.extra is not None
    return [tape.y, tape.extra]
