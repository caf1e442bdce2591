"""What is known of a run over a sequence, for its step caches and for its way back.

There are two kinds. `Columns` holds the notebook's own arrays, step by step. `Rows` holds
what the layers' kernels leave, which long sequences of large nets run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise import stretch as direction
from gatewise._checks import Array
from gatewise.kernels import chooser
from gatewise.notebook._cell import Cell
from gatewise.stretch import Tape, Weights

__all__ = ["Columns", "Record", "Rows"]


@dataclass
class Columns:
    """The `values` and what else was `kept` of a ``Run`` of the kernels."""

    cell: Cell
    values: Any
    kept: Sequence[Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """n_a, m and T_x."""
        return (*self.kept[1].shape, len(self.kept[0]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """What was computed in."""
        return self.kept[1].dtype

    @property
    def initial(self) -> Sequence[Array]:
        """The state before the first step."""
        return self.kept[1 : 1 + len(self.cell.states)]

    def step(self, t: int) -> Sequence[Array]:
        """Return the state after a step and its gates, in the order of caches."""
        return tuple(self.values[t])

    def backward(self, da: Array) -> list[Array]:
        """Return the gradients of x, a0 and the parameters, in the dtype of `da`."""
        values, kept = self.values, self.kept
        if da.dtype != self.dtype:
            values = [[array.astype(da.dtype) for array in step] for step in values]
            kept = [array.astype(da.dtype) for array in kept]
        gradients: list[Array]
        gradients = chooser.kernels.run_backward(self.cell.kernel, values, kept, da)
        return gradients


class Rows:
    """The tape of one direction of one layer, and the weights it ran with."""

    def __init__(self, cell: Cell, tape: Tape, weights: Weights, packed: Any) -> None:
        self.cell = cell
        self.tape = tape
        self.weights = weights
        self._packed = packed

    @classmethod
    @np.errstate(all="ignore")
    def run(cls, cell: Cell, arrays: Sequence[Array]) -> tuple[Rows, list[Array], Array]:
        """Run over the arrays of a sequence; return also the states and predictions."""
        x, a0, *own, w_y, b_y = arrays
        weights = cell.weights(own)
        packed = weights.pack()
        a = a0.T.copy()
        state = (a, np.zeros_like(a))[: len(cell.states)]
        # A copy: the tape should not follow what the caller does to x later.
        tape = direction.forward(weights, packed, x.T.copy(), state)
        record = cls(cell, tape, weights, packed)
        scores = np.dot(tape.y.reshape(-1, len(a0)), w_y.T)
        scores += b_y[:, 0]
        chooser.kernels.softmax(scores, scores)
        # Copies: what the caller does to them should not reach the tape.
        states = [rows.T.copy(order="K") for rows in record._states]
        return record, states, scores.reshape(*tape.y.shape[:2], len(w_y)).T

    def __reduce__(self) -> tuple[Any, ...]:
        # The packed form belongs to this process's backend, and is quickly made anew.
        return type(self), (self.cell, self.tape, self.weights, None)

    @property
    def shape(self) -> tuple[int, ...]:
        """n_a, m and T_x."""
        return self.tape.y.T.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """What was computed in."""
        return self.tape.y.dtype

    @property
    def initial(self) -> Sequence[Array]:
        """The state before the first step."""
        return [array.T for array in self.tape.initial]

    @property
    def _states(self) -> list[Array]:
        """The rows of the states that the steps left: a, and for the LSTM c."""
        if len(self.tape.initial) == 1:
            return [self.tape.y]
        assert self.tape.extra is not None
        return [self.tape.y, self.tape.extra]

    def step(self, t: int) -> Sequence[Array]:
        """Return the state after a step and its gates, in the order of caches."""
        after = [rows[t].T for rows in self._states]
        return (*after, *self.cell.cached_gates(self.tape.gates[t]))

    def backward(self, da: Array) -> list[Array]:
        """Return the gradients of x, a0 and the parameters, in the dtype of `da`."""
        if da.dtype != self.dtype:
            return self._widened(da.dtype).backward(da)
        if not isinstance(self._packed, chooser.kernels.Packed):
            self._packed = self.weights.pack()
        dstate = tuple([np.zeros_like(part) for part in self.tape.initial])
        dx, gradients = direction.backward(
            self.weights, self._packed, self.tape, np.ascontiguousarray(da.T), dstate
        )
        assert dx is not None
        return [dx.T, dstate[0].T, *self.cell.gradients(gradients)]

    def _widened(self, dtype: np.dtype[Any]) -> Rows:
        def wide(array: Any) -> Any:
            return None if array is None else array.astype(dtype)

        weights = Weights(self.weights.cell, *map(wide, self.weights[1:]))
        tape = self.tape._replace(
            x=wide(self.tape.x),
            gates=wide(self.tape.gates),
            extra=wide(self.tape.extra),
            y=wide(self.tape.y),
            initial=tuple(map(wide, self.tape.initial)),
        )
        return Rows(self.cell, tape, weights, None)


Record = Columns | Rows
