"""The step caches of a sequence, made when they are looked at."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

from numpy.typing import ArrayLike

from gatewise._checks import Array
from gatewise.notebook._cell import Cache, Parameters
from gatewise.notebook._records import Record

__all__ = ["Steps"]


class Steps(Sequence[Cache]):
    """One cache for each time step, as a list of them would be, over the record of one run.

    The caches are tuples of views. `x` and `a0` are the caller's, and so is `parameters`.
    """

    __slots__ = ("a0", "parameters", "record", "x")

    def __init__(
        self, record: Record, x: Array, a0: ArrayLike, parameters: Parameters
    ) -> None:
        self.record = record
        self.x = x
        self.a0 = a0
        self.parameters = parameters

    def __len__(self) -> int:
        return self.record.shape[2]

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
            raise IndexError(f"index should be one of {len(self)} steps, got {index}")
        return self._cache(step)

    def __repr__(self) -> str:
        return f"<{self.record.cell.name} caches of {len(self)} steps>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.record, self.x, self.a0, self.parameters)

    def _cache(self, step: int) -> Cache:
        states = len(self.record.cell.states)
        values = self.record.step(step)
        before: Sequence[Any] = (self.a0, *self.record.initial[1:])
        if step:
            before = self.record.step(step - 1)[:states]
        xt = self.x[:, :, step]
        return (*values[:states], *before, *values[states:], xt, self.parameters)
